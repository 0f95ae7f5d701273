# SPDX-License-Identifier: MIT
"""Debian with the virtio devices beside drives: random numbers; and where the CPU has none to give."""
import re
import time

import pytest
from support import INIT_REACHED, PROMPT, SCALE, run_in_guest, run_in_monitor, to_monitor
from test_balloon_debian import to_guest
from test_debian import assert_typing_works
from test_memory import audit
from tiny_guests import console_of, guest, judge_tap, wait_for_log

NOT_OFFERED = (r'VM virtio-rng: is offered no virtio\.rng: this CPU has no generator of random numbers \(RDSEED, RDRAND\) '
               'that works')


def test_console(emulator):
    """A shell on /dev/hvc0; what is typed is for the device that has spoken last; and behind a reboot."""
    conf = ('[hypervisor]\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\nmemory = 256M\n'
            'virtio.console = yes\ncmdline = console=ttyS0 console=hvc0\n')
    machine = emulator(conf)
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    assert run_in_guest(machine, 'tty; cat /sys/class/tty/console/active') == '/dev/hvc0\nttyS0 hvc0\n'
    assert_typing_works(machine)
    # More than a page of output at once, all of which arrives in order.
    assert run_in_guest(machine, 'seq 1 3000') == ''.join('%d\n' % i for i in range(1, 3001))
    # Whoever has spoken last is typed to.
    # It stays open: whoever opens a UART empties it of what was typed before.
    machine.sendline('exec 3<>/dev/ttyS0; echo told""you >&3; read line <&3; echo "heard <$line>"; exec 3>&-')
    machine.expect('toldyou')
    machine.sendline('by the UART')
    machine.expect('heard <by the UART>')
    machine.expect(PROMPT)
    assert run_in_guest(machine, 'dmesg | grep -c "Call Trace"') == '0\n'
    machine.sendline('reboot -f')
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    assert run_in_guest(machine, 'tty') == '/dev/hvc0\n'
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


def test_debian(emulator):
    conf = ('[hypervisor]\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\nmemory = 256M\n'
            'virtio.rng = yes\n')
    machine = emulator(conf)
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    run_in_guest(machine, 'modprobe -a virtio_pci virtio_rng')
    assert run_in_guest(machine, 'cat /sys/class/misc/hw_random/rng_current') == 'virtio_rng.0\n'
    run_in_guest(machine, 'for i in 1 2; do dd if=/dev/hwrng of=/tmp/$i bs=512 count=8 iflag=fullblock 2>/dev/null; done')
    assert run_in_guest(machine, 'wc -c </tmp/1; wc -c </tmp/2; cmp -s /tmp/1 /tmp/2; echo $?') == '4096\n4096\n1\n'
    # What does not compress is not made of few values.
    assert int(run_in_guest(machine, 'gzip </tmp/1 | wc -c')) > 4000
    assert run_in_guest(machine, 'dmesg | grep -c "virtio_rng.*fail\\|Call Trace"') == '0\n'
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


def wait_until_it_keeps(machine, mib):
    """At the monitor: until the VM has given, or taken, all but some pages that lintel uses or the driver leaves."""
    give_up = time.monotonic() + 120 * SCALE
    while True:
        said = run_in_monitor(machine, 'balloon debian')
        target, current = re.search(r'^debian +(\d+) MiB +(\d+) MiB', said, re.M).groups()
        if int(target) == mib and mib <= int(current) <= mib + 1:
            return said
        assert time.monotonic() < give_up, said
        time.sleep(0.2)


def test_balloon(emulator):
    """Linux's driver gives memory and takes it back; its statistics; a reboot while it holds some."""
    conf = ('[hypervisor]\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\nmemory = 320M\n'
            'balloon = virtio\ncmdline = console=ttyS0 nosoftlockup\n')
    machine = emulator(conf)
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    run_in_guest(machine, 'dd if=/dev/urandom of=/kept bs=1M count=24 2>/dev/null; sha256sum /kept >/sum')
    to_monitor(machine)
    assert 'no balloon driver of it has asked yet' in run_in_monitor(machine, 'balloon debian 200M')
    to_guest(machine, 'debian')
    run_in_guest(machine, 'modprobe -a virtio_pci virtio_balloon')
    to_monitor(machine)
    wait_until_it_keeps(machine, 200)
    assert 'its driver has been told' in run_in_monitor(machine, 'balloon debian 128M')
    said = wait_until_it_keeps(machine, 128)
    assert re.search(r"VM debian's driver said \d+ s ago: \d+ MiB in all, \d+ MiB free, \d+ MiB available, ", said), said
    given = int(re.search(r'^debian +running +(\d+) MiB', run_in_monitor(machine, 'vm list'), re.M).group(1))
    assert given <= 132
    audit(machine, 'debian')
    to_guest(machine, 'debian')
    assert 'OK' in run_in_guest(machine, 'sha256sum -c /sum')
    to_monitor(machine)
    run_in_monitor(machine, 'balloon debian 320M')
    wait_until_it_keeps(machine, 320)
    audit(machine, 'debian')
    to_guest(machine, 'debian')
    # It can use again what it gave.
    run_in_guest(machine, 'mount -t tmpfs -o size=100% more /mnt && dd if=/dev/zero of=/mnt/x bs=1M count=160 2>/dev/null', 300)
    assert 'OK' in run_in_guest(machine, 'rm /mnt/x; sha256sum -c /sum')
    to_monitor(machine)
    run_in_monitor(machine, 'balloon debian 200M')
    wait_until_it_keeps(machine, 200)
    to_guest(machine, 'debian')
    # Rather than end a process, it takes back a part of what it gave.
    assert run_in_guest(machine, 'dd if=/dev/zero of=/mnt/x bs=1M count=190 2>/dev/null; echo result$?', 300) == 'result0\n'
    assert run_in_guest(machine, 'dmesg | grep -c "Killed process"') == '0\n'
    to_monitor(machine)
    assert re.search(r'^debian +200 MiB +(2[1-9]|30)[0-9] MiB', run_in_monitor(machine, 'balloon debian'), re.M)
    to_guest(machine, 'debian')
    run_in_guest(machine, 'rm /mnt/x')
    # The driver takes all of it back when it goes, and gives it again when it comes.
    run_in_guest(machine, 'rmmod virtio_balloon; dmesg | grep -c "Call Trace"')
    to_monitor(machine)
    assert re.search(r'^debian +200 MiB +320 MiB', run_in_monitor(machine, 'balloon debian'), re.M)
    to_guest(machine, 'debian')
    run_in_guest(machine, 'modprobe virtio_balloon')
    to_monitor(machine)
    wait_until_it_keeps(machine, 200)
    to_guest(machine, 'debian')
    machine.sendline('reboot -f')
    machine.expect(r'VM debian: reset \(')
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    to_monitor(machine)
    audit(machine, 'debian')
    to_guest(machine, 'debian')
    assert run_in_guest(machine, 'dmesg | grep -c "Call Trace"') == '0\n'
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


@pytest.mark.parametrize('cpu', ['phenom,+npt', 'EPYC,-rdrand'])
def test_a_cpu_without_random_numbers(cpu, emulator):
    """Then no guest is offered any, and the log says so."""
    machine = emulator({'vm virtio-rng': guest('virtio_rng', cmdline='absent'), 'vm last': guest('hole')}, cpu=cpu)
    wait_for_log(machine, NOT_OFFERED, 'VM virtio-rng: has powered itself off', 'No VM runs any more')
    judge_tap(console_of(machine, 'virtio-rng'))
    machine.sendline('shutdown')
    assert machine.wait() == 0

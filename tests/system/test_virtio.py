# SPDX-License-Identifier: MIT
"""Debian with the virtio devices beside drives: random numbers; and where the CPU has none to give."""
import pytest
from support import INIT_REACHED, PROMPT, run_in_guest
from test_debian import assert_typing_works
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
    machine.sendline('echo told""you >/dev/ttyS0; read line </dev/ttyS0; echo "heard <$line>"')
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


@pytest.mark.parametrize('cpu', ['phenom,+npt', 'EPYC,-rdrand'])
def test_a_cpu_without_random_numbers(cpu, emulator):
    """Then no guest is offered any, and the log says so."""
    machine = emulator({'vm virtio-rng': guest('virtio_rng', cmdline='absent'), 'vm last': guest('hole')}, cpu=cpu)
    wait_for_log(machine, NOT_OFFERED, 'VM virtio-rng: has powered itself off', 'No VM runs any more')
    judge_tap(console_of(machine, 'virtio-rng'))
    machine.sendline('shutdown')
    assert machine.wait() == 0

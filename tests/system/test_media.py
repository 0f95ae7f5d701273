# SPDX-License-Identifier: MIT
"""CD drives: Debian mounts what is in one, and sees by its polls what the operator puts in and takes out."""
import itertools
import re
import subprocess
import time

import pytest
from support import INIT_REACHED, PROMPT, QUICK, SCALE, run_in_guest, run_in_monitor, shut_down, to_monitor
from tiny_guests import PAIRS, console_of, guest, judge_tap, on_each_pair, wait_for_log

POLL_MS = 200
BACK = itertools.count(1)


def make_cd(folder, name):
    """An ISO 9660 image whose one file holds its name."""
    content = folder / (name + '.d')
    content.mkdir()
    (content / 'name').write_text(name + '\n')
    (content / 'data').write_bytes(name.encode() * 40000)
    image = folder / (name + '.iso')
    subprocess.run(['xorriso', '-as', 'mkisofs', '-quiet', '-r', '-V', name.upper(), '-o', image, content], check=True,
                   stdin=subprocess.DEVNULL, capture_output=True)
    return image


def operator(machine, *commands):
    """From the guest's prompt to the monitor and back; what it said of the last command."""
    to_monitor(machine)
    for command in commands:
        said = run_in_monitor(machine, command)
    machine.sendline('console debian')
    machine.expect('-- console of VM debian; ')
    # Its replay holds what was typed before.
    number = next(BACK)
    machine.sendline('echo back$((%d+0))' % number)
    machine.expect(r'back%d\r\n' % number)
    machine.expect(PROMPT)
    return said


def count_of(machine, event):
    return int(run_in_guest(machine, 'grep -c %s=1 /tmp/events' % event))


def wait_for_event(machine, event, count):
    """Within one poll, on the guest's clock; and no second one comes."""
    give_up = time.monotonic() + 120 * SCALE
    while count_of(machine, event) < count:
        assert time.monotonic() < give_up, run_in_guest(machine, 'cat /tmp/events; dmesg | tail')
    run_in_guest(machine, 'sleep 1')
    assert count_of(machine, event) == count, machine.output[-2000:]


def open_drive(machine):
    """Only an open clears what Linux has pending."""
    run_in_guest(machine, 'dd if=/dev/sr0 of=/dev/null bs=2k count=1 2>/dev/null')


def debian_sees_the_disc_go(machine):
    """The machine's own: that which all of this was booted from."""
    assert 'vmlinux' in run_in_guest(machine, 'mkdir /disc; mount -t iso9660 -o ro /dev/sr1 /disc && find /disc', 300)
    run_in_guest(machine, 'echo %d >/sys/block/sr1/events_poll_msecs; umount /disc; >/tmp/events' % POLL_MS)
    assert operator(machine, 'media eject debian cd1') == 'VM debian: cd1 was told to open its tray; the log says when it has.\n'
    wait_for_event(machine, 'DISK_MEDIA_CHANGE', 1)
    assert run_in_guest(machine, 'dd if=/dev/sr1 of=/dev/null count=1 2>/dev/null; echo result$?') == 'result1\n'


def debian_sees_media(machine, second_drive):
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    run_in_guest(machine, 'modprobe -a virtio_pci virtio_scsi sr_mod isofs; while [ ! -b /dev/sr0 ]; do sleep 0.1; done', 300)
    assert run_in_guest(machine, 'mount -t iso9660 -o ro /dev/sr0 /mnt && cat /mnt/name && umount /mnt') == 'first\n'
    run_in_guest(machine, '>/tmp/events; uevent sh -c "env | grep ^DISK_ >>/tmp/events" & '
                 'sleep 1; echo %d >/sys/block/sr0/events_poll_msecs' % POLL_MS)
    assert operator(machine, 'media eject debian cd0') == 'VM debian: cd0 is empty now.\n'
    wait_for_event(machine, 'DISK_MEDIA_CHANGE', 1)
    open_drive(machine)
    assert operator(machine, 'media insert debian cd0 second.iso') == 'VM debian: cd0 has second.iso in it.\n'
    wait_for_event(machine, 'DISK_MEDIA_CHANGE', 2)
    assert run_in_guest(machine, 'mount -t iso9660 -o ro /dev/sr0 /mnt && cat /mnt/name') == 'second\n'
    # Mounted, it is locked: the guest is asked, and may let it go.
    assert 'locked by the guest' in operator(machine, 'media eject debian cd0')
    wait_for_event(machine, 'DISK_EJECT_REQUEST', 1)
    run_in_guest(machine, 'umount /mnt')
    assert operator(machine, 'media eject debian cd0') == 'VM debian: cd0 is empty now.\n'
    wait_for_event(machine, 'DISK_MEDIA_CHANGE', 3)
    open_drive(machine)
    # What is being read when the medium goes by force is an error, and the drive works on.
    # (A large one: it is not closed and opened again meanwhile.)
    operator(machine, 'media insert debian cd0 ram:4G')
    wait_for_event(machine, 'DISK_MEDIA_CHANGE', 4)
    machine.sendline('(dd if=/dev/sr0 of=/dev/null bs=64k iflag=direct 2>/tmp/error; echo ended >>/tmp/error) &')
    machine.expect(PROMPT)
    assert operator(machine, 'media eject debian cd0 --force') == 'VM debian: cd0 is empty now.\n'
    run_in_guest(machine, 'while ! grep -q ended /tmp/error; do sleep 0.1; done', 300)
    assert 'Input/output error' in run_in_guest(machine, 'cat /tmp/error')
    assert 'Medium not present - tray open' in run_in_guest(machine, 'dmesg | grep "Add. Sense" | tail -1')
    assert operator(machine, 'media insert debian cd0 first.iso') == 'VM debian: cd0 has first.iso in it.\n'
    open_drive(machine)
    assert run_in_guest(machine, 'mount -t iso9660 -o ro /dev/sr0 /mnt && cat /mnt/name') == 'first\n'
    records = operator(machine, 'media events')
    assert records.count(' change\n') == 6 and records.count(' eject request\n') == 1, records
    if second_drive:
        debian_sees_the_disc_go(machine)
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


@pytest.mark.parametrize('pair, second_drive', [('svm-qemu', ''), ('vmx-bochs', 'cdrom = ide:0\n')], ids=['svm-qemu', 'vmx-bochs'])
def test_debian_sees_media_come_and_go(pair, second_drive, emulator, tmp_path):
    files = {name + '.iso': make_cd(tmp_path, name) for name in ('first', 'second')}
    conf = ('[hypervisor]\nshutdown.grace = 0\nmedia.file = second.iso\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\n'
            'memory = 256M\ncmdline = %s\ncdrom = first.iso\n%s' % (QUICK, second_drive))
    debian_sees_media(emulator(conf, files, **PAIRS[pair], memory='768M'), second_drive)


def test_ten_thousand_media(emulator):
    """A guest that opens and closes its tray with reads in the same ring: each event is told once."""
    machine = emulator({'vm cd': guest('virtio_cd', cmdline='many'), 'vm last': guest('halt', cmdline='open')},
                       **PAIRS['svm-qemu'])
    wait_for_log(machine, 'VM cd: has powered itself off')
    to_monitor(machine)
    judge_tap(console_of(machine, 'cd'))
    # 20,000 changes; a drive that has gone with its VM is in no list.
    assert re.search(r'^ +20000 +[0-9.]+ s  cd +cd0 +change$', run_in_monitor(machine, 'media events'), re.M)
    assert 'cd0' not in run_in_monitor(machine, 'media list')
    machine.sendline('shutdown')
    assert machine.wait() == 0


@pytest.mark.parametrize('cycles', [10, pytest.param(1000, marks=pytest.mark.soak)])
def test_the_operator_changes_media(cycles, emulator):
    """Under the guest's reads, each event read before the next: none is lost or doubled, no read is of another medium."""
    machine = emulator({'vm cd': guest('virtio_cd', cmdline='operator'), 'vm last': guest('halt', cmdline='open')},
                       timeout=3600, **PAIRS['svm-qemu'])
    machine.expect('# it is read')
    to_monitor(machine)

    def wait_until_seen():
        for _ in range(1000):
            said = run_in_monitor(machine, 'media list')
            if re.search(r'^cd +cd0 +change, eject change, eject - ', said, re.M):
                return
        pytest.fail(said)
    for cycle in range(cycles):
        assert run_in_monitor(machine, 'media eject cd cd0 --force') == 'VM cd: cd0 is empty now.\n'
        wait_until_seen()
        medium = 'virtio_cd.elf' if cycle % 2 else 'ram:1M'
        assert run_in_monitor(machine, 'media insert cd cd0 ' + medium) == 'VM cd: cd0 has %s in it.\n' % medium
        wait_until_seen()
    machine.sendline('console cd')
    machine.expect('-- console of VM cd; ')
    machine.send('k')
    wait_for_log(machine, 'VM cd: has powered itself off')
    to_monitor(machine)
    text = console_of(machine, 'cd')
    judge_tap(text)
    assert 'media went %d times, came %d times; 0 were wrong' % (cycles, cycles) in text
    assert re.search(r'^ +%d +[0-9.]+ s  cd +cd0 +change$' % (2 * cycles), run_in_monitor(machine, 'media events'), re.M)
    assert shut_down(machine) == 0


@on_each_pair
def test_an_operator_ejects_from_a_hostile_guest(pair, emulator):
    """By force, while one vCPU rewrites what the other asks for: each event is told once, and the next medium is read."""
    machine = emulator({'vm cd': guest('virtio_scsi_hostile', cmdline='eject'), 'vm last': guest('halt', cmdline='open')},
                       **PAIRS[pair])
    wait_for_log(machine, 'VM last: started')
    to_monitor(machine)
    assert run_in_monitor(machine, 'media eject cd cd0 --force') == 'VM cd: cd0 is empty now.\n'
    machine.sendline('media insert cd cd0 ram:1M')    # what it says may come among what the guest's end says
    wait_for_log(machine, 'VM cd: has powered itself off')
    judge_tap(console_of(machine, 'cd'))
    machine.sendline('shutdown')
    assert machine.wait() == 0

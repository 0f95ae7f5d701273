# SPDX-License-Identifier: MIT
"""CD drives of the machine: a guest reads a whole medium, and sees what happens to it within two polls."""
import json
import random
import re
import socket
import time
import zlib

import pytest
from support import (INIT_REACHED, MONITOR_KEY, MONITOR_PROMPT, PROMPT, QUICK, SCALE, run_in_guest, run_in_monitor,
                     shut_down, to_monitor)
from test_media import make_cd, operator, wait_for_event
from tiny_guests import PAIRS, console_of, guest, judge_tap, on_each_pair, wait_for_log

BOOT_DRIVE = {'svm-qemu': 'ahci:0', 'vmx-bochs': 'ide:0', 'svm-bochs': 'ide:0'}


def medium_line(path):
    """What the guest says of a medium that it has read."""
    data = path.read_bytes()
    return 'medium of %d blocks, sum %x' % (len(data) // 2048, zlib.adler32(data))


@on_each_pair
def test_the_boot_cd_is_read_whole(pair, emulator, make_iso):
    """lintel's own ISO, whose end and checksum are known."""
    iso = make_iso({'vm cd': guest('machine_cd', cdrom=BOOT_DRIVE[pair]), 'vm last': guest('halt', cmdline='open')})
    machine = emulator(iso=iso, **PAIRS[pair])
    wait_for_log(machine, 'VM cd: has powered itself off')
    to_monitor(machine)
    text = console_of(machine, 'cd')
    judge_tap(text)
    assert medium_line(iso) in text
    assert shut_down(machine) == 0


class Qmp:
    """QEMU's control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60 * SCALE)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile('rw')
        self.lines.readline()
        self.ask('qmp_capabilities')

    def ask(self, verb, **arguments):
        """What it returns, or its words for an error."""
        self.lines.write(json.dumps({'execute': verb, 'arguments': arguments}) + '\n')
        self.lines.flush()
        while True:
            answer = json.loads(self.lines.readline())
            if 'return' in answer:
                return answer['return']
            if 'error' in answer:
                return answer['error']['desc']

    def io(self, command):
        """What QEMU's qemu-io says, of the medium in the drive."""
        return self.ask('human-monitor-command', **{'command-line': 'qemu-io -d disc "%s"' % command})

    def drive(self):
        return next(drive for drive in self.ask('query-block') if drive.get('qdev') == 'disc')

    def wait_for(self, **state):
        give_up = time.monotonic() + 60 * SCALE
        while {key: self.drive().get(key) for key in state} != state:
            assert time.monotonic() < give_up, self.drive()
            time.sleep(0.05)

    def close(self):
        self.lines.close()
        self.socket.close()


def disc(folder, name, blocks):
    path = folder / (name + '.iso')
    path.write_bytes(random.Random(name).randbytes(blocks * 2048))
    return path


@pytest.fixture
def discs(tmp_path):
    return disc(tmp_path, 'large', 300), disc(tmp_path, 'small', 37)


def disc_words(folder, board, path):
    """QEMU's words for a second CD drive with this medium in it, and for its control socket."""
    return ['-M', board, '-qmp', 'unix:%s/qmp,server=on,wait=off' % folder,
            '-drive', 'if=none,id=medium,format=raw,media=cdrom,readonly=on,file=%s' % path,
            '-device', 'ide-cd,id=disc,drive=medium,bus=ide.1']


BOARDS = {'q35': 'ahci:1', 'pc': 'ide:2'}


def the_operator_has_it(machine, drive, qmp, path):
    """A drive that no VM has: it is asked when the operator looks, or as he says, and ejected."""
    def wait_for_line(end):
        for _ in range(1000):
            said = run_in_monitor(machine, 'media list')
            if re.search(r'^- +%s +change, eject - .*  %s$' % (drive, end), said, re.M):
                return
        pytest.fail(said)

    def eject():
        line = 'drive %s: its tray has been opened' % drive
        before = machine.output.count(line)
        assert 'was told to open its tray' in run_in_monitor(machine, 'media eject - ' + drive)
        while machine.output.count(line) == before:
            run_in_monitor(machine, 'media list')

    wait_for_line('empty, tray open')   # once its VM has given it back
    eject()     # although it is open
    qmp.ask('blockdev-change-medium', id='disc', filename=str(path), format='raw')
    wait_for_line('a medium')
    eject()
    qmp.wait_for(tray_open=True)
    assert run_in_monitor(machine, 'media poll - %s 50' % drive) == '-: %s is asked every 50 ms.\n' % drive


def it_takes_one_poll_each(machine, change):
    """One of lintel's, at the operator's word, as the next one is an hour away; then one of the guest's, at a key."""
    def listed():
        pending, checks, medium = re.search(r'^cd +cd0 +change, eject - +(.+?) +3600000 ms +(\d+)  (.*)$',
                                            run_in_monitor(machine, 'media list'), re.M).groups()
        return pending, int(checks), medium

    def poll_of_guest(event):
        machine.sendline('console cd')
        machine.expect('-- console of VM cd; ')
        machine.send('p')
        machine.expect(r'event %d, status \d\r\n' % event)
        to_monitor(machine)
    to_monitor(machine)
    checks = listed()[1]
    change()
    poll_of_guest(0)        # lintel does not know yet
    assert listed()[:2] == ('-', checks)
    run_in_monitor(machine, 'media poll cd cd0 3600000')
    for _ in range(1000):   # until that one has ended
        pending, now, medium = listed()
        assert now == checks + 1
        if pending == 'change' and 'empty' not in medium:
            break
    assert pending == 'change'
    poll_of_guest(3)
    run_in_monitor(machine, 'media poll cd cd0 100')
    machine.sendline('console cd')
    machine.expect('-- console of VM cd; ')
    machine.send('x')


@pytest.mark.parametrize('board', BOARDS)
def test_a_disc_is_changed(board, emulator, discs, tmp_path):
    """By QMP, in the emulated drive: each change is seen once, a button asks a locked tray, an eject opens it."""
    large, small = discs
    machine = emulator({'hypervisor': {'media.poll_ms': '3600000'},
                        'vm cd': guest('machine_cd', cdrom=BOARDS[board], cmdline='watch keys'),
                        'vm last': guest('halt', cmdline='open')},
                       qemu_arg=disc_words(tmp_path, board, large), **PAIRS['svm-qemu'])
    machine.expect(medium_line(large))
    qmp = Qmp(tmp_path / 'qmp')
    it_takes_one_poll_each(machine, lambda: qmp.ask('blockdev-change-medium', id='disc', filename=str(small), format='raw'))
    machine.expect(r'event 2, status 2\r\n')
    machine.expect(medium_line(small))
    qmp.wait_for(locked=True)
    # By force, while it is locked.
    qmp.ask('blockdev-open-tray', id='disc', force=True)
    machine.expect(r'event 3, status 1\r\n')
    qmp.ask('blockdev-remove-medium', id='disc')
    qmp.ask('blockdev-change-medium', id='disc', filename=str(large), format='raw')
    machine.expect(r'event 2, status 2\r\n')
    machine.expect(medium_line(large))
    qmp.wait_for(locked=True, tray_open=False)
    qmp.ask('blockdev-open-tray', id='disc')
    machine.expect(r'event 1, status 2\r\n')
    qmp.wait_for(locked=False, tray_open=True)
    wait_for_log(machine, 'VM cd: has powered itself off')
    to_monitor(machine)
    the_operator_has_it(machine, BOARDS[board], qmp, small)
    qmp.close()
    text = console_of(machine, 'cd')
    judge_tap(text)
    assert re.findall(r'event (\d)', text) == ['0', '3', '2', '3', '2', '1'], text
    assert 'answer 23a02' in text       # no medium, the tray is open
    records = run_in_monitor(machine, 'media events')
    assert records.count(' eject request\n') == 1, records
    assert shut_down(machine) == 0


def stuck_words(folder, board, path):
    """As disc_words, with a driver below the drive in which a read can be made to stand still."""
    return ['-M', board, '-qmp', 'unix:%s/qmp,server=on,wait=off' % folder,
            '-blockdev', 'driver=file,node-name=file,read-only=on,filename=%s' % path,
            '-blockdev', 'driver=blkdebug,node-name=debug,read-only=on,image=file',
            '-blockdev', 'driver=raw,node-name=medium,read-only=on,file=debug',
            '-device', 'ide-cd,id=disc,drive=medium,bus=ide.1']


@pytest.mark.parametrize('board', BOARDS)
def test_a_medium_goes_under_a_read(board, emulator, discs, tmp_path):
    """By force, while the drive has a read that it has not answered: which then comes with data, of no use to anybody."""
    large, small = discs
    machine = emulator({'hypervisor': {'media.poll_ms': '0'},
                        'vm cd': guest('machine_cd', cdrom=BOARDS[board], cmdline='stuck'),
                        'vm last': guest('halt', cmdline='open')},
                       qemu_arg=stuck_words(tmp_path, board, large), **PAIRS['svm-qemu'])
    machine.expect(r'ok 2 the tray is locked')
    qmp = Qmp(tmp_path / 'qmp')
    assert qmp.io('break read_aio here') == ''
    machine.send('k')
    machine.expect('it is asked')
    qmp.io('wait_break here')       # it is under way, in the drive
    # In one breath, within lintel's patience of 10 s: QEMU's AHCI would wait for the read for ever, if it were reset.
    machine.send(MONITOR_KEY + 'media eject cd cd0 --force\r')
    machine.expect('cd0 was told to open its tray')
    assert qmp.io('resume here') == ''
    machine.expect(MONITOR_PROMPT)
    wait_for_log(machine, 'drive %s: its tray has been opened' % BOARDS[board])
    qmp.wait_for(locked=False, tray_open=True)
    run_in_monitor(machine, 'media poll cd cd0 100')
    qmp.ask('blockdev-change-medium', id='disc', filename=str(small), format='raw')
    wait_for_log(machine, 'VM cd: has powered itself off')
    qmp.close()
    text = console_of(machine, 'cd')
    judge_tap(text)
    assert medium_line(large) in text and medium_line(small) in text
    assert shut_down(machine) == 0
    # blkdebug says it on QEMU's standard output, which is not the serial line.
    assert 'Suspended request' not in machine.output


@pytest.mark.parametrize('pair', ['vmx-bochs', 'svm-bochs'])
def test_the_operator_ejects(pair, emulator):
    """On Bochs, whose only CD drive has lintel itself in it; the guest sees it go."""
    machine = emulator({'hypervisor': {'media.poll_ms': '100'}, 'vm cd': guest('machine_cd', cdrom='ide:0', cmdline='watch')},
                       **PAIRS[pair])
    machine.expect('medium of ')
    to_monitor(machine)
    assert re.search(r'^cd +cd0 +change, eject - +- +100 ms +[0-9]+  ide:0$', run_in_monitor(machine, 'media list'), re.M)
    assert 'is a drive of the machine; right would be to put a disc in by hand' in run_in_monitor(
        machine, 'media insert cd cd0 ram:1M')
    assert run_in_monitor(machine, 'media poll cd cd0 50') == 'VM cd: cd0 is asked every 50 ms.\n'
    assert ('VM cd: cd0 was told to open its tray; the log says when it has.\n'
            in run_in_monitor(machine, 'media eject cd cd0'))
    wait_for_log(machine, 'drive ide:0: its tray has been opened')
    machine.sendline('console cd')
    machine.expect(r'event 3, status [01]\r\n')     # what Bochs ejects leaves no open tray, says its drive
    to_monitor(machine)
    assert re.search(r'^cd +cd0 .* ide:0, empty(, tray open)?$', run_in_monitor(machine, 'media list'), re.M)
    assert run_in_monitor(machine, 'media eject cd cd0') == 'VM cd: cd0 is empty.\n'
    run_in_monitor(machine, 'vm stop cd')
    assert re.search(r'^- +ide:0 +change, eject - +- +0 ms +[0-9]+  empty(, tray open)?$', run_in_monitor(machine, 'media list'), re.M)
    assert shut_down(machine) == 0


def test_debian_sees_a_disc_changed(emulator, tmp_path):
    """By the uevents of /dev/sr0; a mounted disc is asked for, and an operator who insists gets it."""
    first, second = (make_cd(tmp_path, name) for name in ('first', 'second'))
    machine = emulator('[hypervisor]\nshutdown.grace = 0\nmedia.poll_ms = 200\n[vm debian]\nkernel = vmlinux\n'
                       'initrd = initrd.img\nmemory = 256M\ncmdline = %s\ncdrom = ahci:1\n' % QUICK, memory='768M',
                       qemu_arg=disc_words(tmp_path, 'q35', first), **PAIRS['svm-qemu'])
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    qmp = Qmp(tmp_path / 'qmp')
    run_in_guest(machine, 'modprobe -a virtio_pci virtio_scsi sr_mod isofs; while [ ! -b /dev/sr0 ]; do sleep 0.1; done', 300)
    assert run_in_guest(machine, 'mount -t iso9660 -o ro /dev/sr0 /mnt && cat /mnt/name && umount /mnt') == 'first\n'
    run_in_guest(machine, '>/tmp/events; uevent sh -c "env | grep ^DISK_ >>/tmp/events" & '
                 'sleep 1; echo 200 >/sys/block/sr0/events_poll_msecs')
    qmp.ask('blockdev-change-medium', id='disc', filename=str(second), format='raw')
    wait_for_event(machine, 'DISK_MEDIA_CHANGE', 1)
    assert run_in_guest(machine, 'mount -t iso9660 -o ro /dev/sr0 /mnt && cat /mnt/name') == 'second\n'
    qmp.wait_for(locked=True)
    qmp.ask('blockdev-open-tray', id='disc')
    wait_for_event(machine, 'DISK_EJECT_REQUEST', 1)
    assert 'locked by the guest' in operator(machine, 'media eject debian cd0')
    assert 'cd0 was told to open its tray; the log says when' in operator(machine, 'media eject debian cd0 --force')
    wait_for_log(machine, 'drive ahci:1: its tray has been opened')
    qmp.wait_for(locked=False, tray_open=True)
    assert 'result1' in run_in_guest(machine, 'cat /mnt/data >/dev/null 2>&1; echo result$?')
    qmp.close()
    to_monitor(machine)
    assert shut_down(machine) == 0

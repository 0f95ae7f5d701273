# SPDX-License-Identifier: MIT
"""Drives of the machine: Debian on virtio-blk and AHCI disks of QEMU, whole and by partition, good and bad ones."""
import hashlib
import os
import re
import struct
import zlib

import pytest
from support import (INIT_REACHED, MONITOR_PROMPT, PROMPT, QUICK, mbr_image, run_in_guest, run_in_monitor, shut_down,
                     to_monitor)
from tiny_guests import PAIRS, console_of, guest, judge_tap, wait_for_log

SECTOR = 512
DISK_SECTORS = 32768
FIRST = (2048, 4095)        # the GPT's partitions, in sectors, inclusive
SECOND = (4096, 28671)
BAD_SECTOR = 3000


def gpt_image():
    """Random bytes with a GPT of two partitions, as sgdisk writes it."""
    entries = b''.join(struct.pack('<16s16sQQQ72s', b'type', b'disk', first, last, 0, b'') for first, last in (FIRST, SECOND))
    entries = entries.ljust(128 * 128, b'\0')

    def header(this, other, where):
        fields = ['<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, this, other, 34, DISK_SECTORS - 34, b'disk', where,
                  128, 128, zlib.crc32(entries)]
        fields[4] = zlib.crc32(struct.pack(*fields))
        return struct.pack(*fields).ljust(SECTOR, b'\0')

    last = DISK_SECTORS - 1
    mbr = bytes(446) + struct.pack('<B3sB3sII', 0, b'', 0xee, b'', 1, last) + bytes(48) + b'\x55\xaa'
    head = mbr + header(1, last, 2) + entries
    tail = entries + header(last, 1, last - 32)
    return head + os.urandom(DISK_SECTORS * SECTOR - len(head) - len(tail)) + tail


def drive_words(name, path, device, bad=False):
    """QEMU's words for a disk; of a bad one a sector can't be read."""
    # A flush of the host's own disks may take longer than lintel waits for a drive.
    file = 'driver=file,cache.no-flush=on,discard=unmap,filename=%s' % path
    if bad:
        file = ('driver=blkdebug,image.driver=file,image.cache.no-flush=on,image.filename=%s,'
                'inject-error.0.event=read_aio,inject-error.0.errno=5,inject-error.0.sector=%d,inject-error.0.once=off' % (path, BAD_SECTOR))
    return ['-blockdev', 'node-name=%s-file,%s' % (name, file),
            '-blockdev', 'driver=raw,discard=unmap,node-name=%s,file=%s-file' % (name, name), '-device', '%s,drive=%s' % (device, name)]


def virtio(name, path, **more):
    return drive_words(name, path, 'virtio-blk-pci,disable-legacy=on', **more)


def ahci(name, path, port, **more):
    return drive_words(name, path, 'ide-hd,bus=ide.%d' % port, **more)


@pytest.fixture
def images(tmp_path):
    """Five disks; their paths by name."""
    paths = {}
    for name in ('gpt', 'sata', 'badvirtio', 'badsata', 'large'):
        paths[name] = tmp_path / (name + '.img')
        paths[name].write_bytes(gpt_image() if name == 'gpt' else os.urandom(DISK_SECTORS * SECTOR))
    return paths


def content(path, first=0, last=DISK_SECTORS - 1):
    return path.read_bytes()[first * SECTOR:(last + 1) * SECTOR]


def md5(data):
    return hashlib.md5(data).hexdigest()


def last_word(machine, command):
    """Of what a command prints; the echo of a long one is wrapped."""
    return run_in_guest(machine, command, 200).split()[-1]


def disks_come(machine):
    run_in_guest(machine, 'modprobe virtio_pci; modprobe virtio_blk; while [ ! -b /dev/vde ]; do sleep 1; done')


def read_whole(machine, disk):
    return last_word(machine, 'dd if=/dev/%s bs=256k iflag=direct 2>/dev/null | md5sum | cut -c-32' % disk)


def write_and_compare(machine, disk, path, offset):
    """2 MiB at an odd place through the guest's cache: in the image behind the flush, at its place alone."""
    before = path.read_bytes()
    run_in_guest(machine, 'dd if=/dev/urandom of=/tmp/random bs=1M count=2 2>/dev/null', 200)
    sum_of_it = last_word(machine, 'md5sum </tmp/random | cut -c-32')
    assert last_word(machine, 'dd if=/tmp/random of=/dev/%s bs=4k seek=5 conv=fsync 2>/dev/null; echo $?' % disk) == '0'
    after, at = path.read_bytes(), offset * SECTOR + 5 * 4096
    assert md5(after[at:at + (2 << 20)]) == sum_of_it
    assert after[:at] == before[:at] and after[at + (2 << 20):] == before[at + (2 << 20):]


def discard_and_compare(machine, disk, path, offset):
    """4 MiB at an odd place: the image has a hole there, and is as before elsewhere."""
    before, at, size = path.read_bytes(), offset * SECTOR + 7 * 4096, 4 << 20
    assert last_word(machine, 'blkdiscard -o %d -l %d /dev/%s; echo $?' % (7 * 4096, size, disk)) == '0'
    assert path.read_bytes() == before[:at] + bytes(size) + before[at + size:]


def reads_past_the_bad_sector(machine, disk):
    """An I/O error at one place, and nowhere else, while others read beside it."""
    read = 'dd if=/dev/%s of=/dev/null bs=4k iflag=direct skip=%d count=%d 2>/dev/null; echo $?'
    bad = BAD_SECTOR // 8
    assert last_word(machine, read % (disk, bad, 1)) == '1'
    run_in_guest(machine, 'cat >/tmp/read <<END\ndd if=/dev/%s of=/dev/null bs=4k iflag=direct skip=\\$1 count=\\$2 2>/dev/null\n'
                 'echo \\$1:\\$? >>/tmp/result\nEND' % disk)
    run_in_guest(machine, 'rm -f /tmp/result; (for i in 0 256 512 1024 2048; do sh /tmp/read $i 64 & done; sh /tmp/read %d 3; wait)'
                 % (bad - 1), 200)
    assert sorted(run_in_guest(machine, 'cat /tmp/result').split()) == sorted(
        ['%d:1' % (bad - 1)] + ['%d:0' % i for i in (0, 256, 512, 1024, 2048)])
    assert last_word(machine, read % (disk, bad + 1, 512)) == '0'
    assert last_word(machine, read % (disk, 0, bad)) == '0'


def test_debian_on_drives_of_the_machine(emulator, images):
    conf = ('[hypervisor]\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\nmemory = 256M\ncmdline = %s\n'
            'disk = virtio:0/part2\nwrite = yes\ndisk = ahci:1\nwrite = yes\ndisk = virtio:0/part1\ndisk = virtio:1\n'
            'disk = ahci:2\n'
            '[vm other]\nkernel = vmlinux\ndisk = virtio:0\n'
            '[vm gone]\nkernel = vmlinux\ndisk = ahci:5\n' % QUICK)
    machine = emulator(conf, unchecked=True, qemu_arg=virtio('g', images['gpt']) + virtio('b', images['badvirtio'], bad=True)
                       + ahci('s', images['sata'], 1) + ahci('t', images['badsata'], 2, bad=True)
                       + drive_words('l', images['large'], 'virtio-blk-pci,disable-legacy=on,logical_block_size=4096,'
                                     'physical_block_size=4096'))
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    for line in (r'PCI: [0-9]+ functions on [0-9]+ buses, seen through memory',
                 r'lintel\.conf:17: vm other: disk = virtio:0 is what VM debian has by line 8, and one of the two writes',
                 r'VM gone: .*lintel\.conf:20: disk = ahci:5: there is no drive ahci:5; right would be one of virtio:0, virtio:1, '
                 r'ahci:1, ahci:2',
                 r'drive virtio:2: is left out: .* sectors of 512 bytes is expected',
                 r'drive virtio:0: 16 MiB, GPT: part1, part2', r'drive ahci:1: 16 MiB, no partition table'):
        assert re.search(line, machine.output), line
    disks_come(machine)
    sizes = run_in_guest(machine, 'cat /sys/block/vd?/size /sys/block/vd?/ro').split()
    assert sizes == [str(SECOND[1] - SECOND[0] + 1), str(DISK_SECTORS), str(FIRST[1] - FIRST[0] + 1), str(DISK_SECTORS),
                     str(DISK_SECTORS), '0', '0', '1', '1', '1']
    assert read_whole(machine, 'vda') == md5(content(images['gpt'], *SECOND))
    assert read_whole(machine, 'vdb') == md5(content(images['sata']))
    assert read_whole(machine, 'vdc') == md5(content(images['gpt'], *FIRST))
    write_and_compare(machine, 'vda', images['gpt'], SECOND[0])
    write_and_compare(machine, 'vdb', images['sata'], 0)
    discard_and_compare(machine, 'vda', images['gpt'], SECOND[0])
    discard_and_compare(machine, 'vdb', images['sata'], 0)
    assert last_word(machine, 'blkdiscard -o 0 -l 4096 /dev/vdc; echo $?') == '1'
    assert last_word(machine, 'echo x | dd of=/dev/vdc conv=fsync 2>/dev/null; echo $?') == '1'
    for disk, name in (('vdd', 'virtio:1'), ('vde', 'ahci:2')):
        reads_past_the_bad_sector(machine, disk)
        assert 'drive %s: reading failed at sector' % name in machine.output

    # Nothing of a life that has ended reaches the next one; and the drive is as good as before.
    run_in_guest(machine, 'for d in vda vdc vdd vde; do (while dd if=/dev/$d of=/dev/null bs=1M iflag=direct; do :; done 2>/dev/null) & '
                 'done; (while dd if=/dev/zero of=/dev/vdb bs=1M oflag=direct; do :; done 2>/dev/null) & sleep 1')
    machine.sendline('echo b >/proc/sysrq-trigger')
    machine.expect(r'VM debian: reset \(')
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    disks_come(machine)
    assert read_whole(machine, 'vda') == md5(content(images['gpt'], *SECOND))
    assert read_whole(machine, 'vdb') == md5(content(images['sata']))
    to_monitor(machine)
    listed = run_in_monitor(machine, 'pci')
    assert '1af4:1042' in listed and '8086:2922' in listed
    assert 'agree about' in run_in_monitor(machine, 'p2m audit debian')
    assert shut_down(machine) == 0


CYLINDER = 16 * 63 * SECTOR     # Bochs counts disks in these
WRITTEN = range(1001 * SECTOR, 1151 * SECTOR)


def pattern(size):
    """What tests/guests/machine_drive.c expects."""
    return struct.pack('<%dQ' % (size // 8), *((i * 0x9e3779b97f4a7c15) & (2 ** 64 - 1) for i in range(size // 8)))


def drive_guest(drive, **more):
    return {**guest('machine_drive', disk=drive, **more), 'write': 'yes'}


# Two have one partition of a packed file, each with what it writes of its own.
PACKED = ('packed', 'again')


def packed_guests():
    return {'vm ' + name: guest('machine_drive', disk='packed.img/part3') for name in PACKED}


def packed_image():
    return {'packed.img': mbr_image([(1, 1, 3), (3, 5, 1200)], pattern(1200 * SECTOR))}


def judge_drives(machine, paths, others=()):
    """VM name -> image; what the guest wrote is in it, and nothing else is changed. Other VMs write nothing."""
    wait_for_log(machine, *('VM %s: has powered itself off' % name for name in (*paths, *others)))
    machine.expect(MONITOR_PROMPT)
    for name in (*paths, *others):
        judge_tap(console_of(machine, name))
    for path in paths.values():
        right = bytearray(pattern(path.stat().st_size))
        right[WRITTEN.start:WRITTEN.stop] = bytes(byte ^ 0xff for byte in right[WRITTEN.start:WRITTEN.stop])
        assert path.read_bytes() == bytes(right)
    assert shut_down(machine) == 0


def pattern_image(tmp_path, name):
    path = tmp_path / (name + '.img')
    path.write_bytes(pattern(4 * CYLINDER))
    return path


@pytest.mark.parametrize('pair', ['vmx-bochs', 'svm-bochs'])
def test_the_disk_of_bochs(pair, emulator, tmp_path):
    path = pattern_image(tmp_path, 'disk')
    vms = {'vm drive': drive_guest('ide:1'), **packed_guests(), 'vm hole': guest('hole')}
    judge_drives(emulator(vms, files=packed_image(), disk=path, **PAIRS[pair]), {'drive': path}, PACKED)


def test_legacy_ide(emulator, tmp_path):
    """PCI by ports; three disks on two channels, two of which share one, and one of these has a bad sector."""
    paths = {name: pattern_image(tmp_path, name) for name in ('slave', 'master', 'bad')}
    vms = {'vm slave': drive_guest('ide:1'), 'vm master': drive_guest('ide:2'), 'vm bad': drive_guest('ide:3', cmdline='bad'),
           'vm hole': guest('hole')}
    words = (['-M', 'pc'] + drive_words('m', paths['master'], 'ide-hd,bus=ide.1,unit=0')
             + drive_words('b', paths['bad'], 'ide-hd,bus=ide.1,unit=1', bad=True))
    words += drive_words('s', paths['slave'], 'ide-hd,bus=ide.0,unit=1')
    machine = emulator(vms, qemu_arg=words, cpus=2, **PAIRS['svm-qemu'])
    judge_drives(machine, paths)
    assert 'drive ide:3: reading failed at sector' in machine.output
    assert re.search(r'PCI: [0-9]+ functions on [0-9]+ buses, seen through ports', machine.output)


def test_a_drive_that_stalls(emulator, tmp_path):
    """QEMU lets a drive have no more than a sector in a second: it is reset, who asked it gets an error, others go on."""
    stalled, good = pattern_image(tmp_path, 'stalled'), pattern_image(tmp_path, 'good')
    words = ['-object', 'throttle-group,id=slow,x-bps-read=512,x-bps-read-max=65536',
             '-blockdev', 'driver=file,node-name=s-file,filename=%s' % stalled,
             '-blockdev', 'driver=throttle,node-name=s,throttle-group=slow,file=s-file',
             '-device', 'virtio-blk-pci,disable-legacy=on,drive=s']
    vms = {'vm stalled': guest('machine_drive', disk='virtio:0', cmdline='stalls'), 'vm good': drive_guest('virtio:1'),
           **packed_guests(), 'vm hole': guest('hole')}
    machine = emulator(vms, files=packed_image(), qemu_arg=words + virtio('g', good), **PAIRS['svm-qemu'])
    judge_drives(machine, {'good': good}, ['stalled', *PACKED])
    assert 'drive virtio:0: has not answered for 10 s; it is reset' in machine.output

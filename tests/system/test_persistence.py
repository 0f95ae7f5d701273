# SPDX-License-Identifier: MIT
"""What a guest was told is flushed is on the drive: an ext4 load on drives of the machine, whose emulator is killed.

A killed emulator's writes are kept by the host, so the drives' writes are logged, and what a power failure would have left
is made of the log (write_log.py). LINTEL_SOAK_KILLS says how many kills there are in `make soak`; LINTEL_KILL_SEED
repeats one's random choices.
"""
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time
import zlib

import pytest
import write_log
from support import INIT_REACHED, PROMPT, QUICK, run_in_guest
from test_faults import watched  # noqa: F401: a fixture
from tiny_guests import PAIRS

DISK_BYTES = 32 << 20
VIRTIO, AHCI, IDE = 'v', 's', 'i'
DRIVES = {VIRTIO: 'virtio:0', AHCI: 'ahci:0', IDE: 'ide:2'}
DEVICES = {VIRTIO: 'virtio-blk-pci,disable-legacy=on', AHCI: 'ide-hd,bus=sata.0', IDE: 'ide-hd,bus=ide.1,unit=0'}
BOARD = ['-M', 'pc', '-device', 'ahci,id=sata']
# Which of them a machine has: two are as much as a kill needs, and one that is slow holds no other up.
PAIRS_OF_DRIVES = [(VIRTIO, AHCI), (AHCI, IDE), (IDE, VIRTIO)]
CONF = '[hypervisor]\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\nmemory = 256M\ncmdline = %s\n' % QUICK
FOLDER = '/records'
ACKS = (10, 250)         # the kill comes behind so many words of the guest
KILLS = int(os.environ.get('LINTEL_SOAK_KILLS', '20'))
RECORD = struct.Struct('<IIQ')    # of tests/initramfs/records.c: sum, bytes of the payload, number
FILES, PER_FILE = 4, 16
BLOCK_FLUSH = 2          # hv/storage/block.h


def run(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, '%s: status %d:\n%s' % (' '.join(map(str, command)), done.returncode, done.stdout)


def start_load(machine, names):
    """Per drive one who writes records, and one whose writes no flush waits for."""
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    run_in_guest(machine, 'modprobe -a crc32c_generic virtio_pci virtio_blk ext4; while [ ! -b /dev/vdb ]; do sleep 1; done')
    run_in_guest(machine, 'mkdir /%s /%s; mount -t ext4 -o discard /dev/vda /%s && mount -t ext4 -o discard /dev/vdb /%s; ' % (*names, *names) +
                 'for d in /%s /%s; do dd if=/dev/zero of=$d/noise bs=64k count=16 conv=fsync; mkdir -p $d%s; '
                 'dd if=/dev/zero of=$d%s/acks bs=4k count=1 conv=fsync; done 2>/dev/null; sync' % (*names, FOLDER, FOLDER))
    run_in_guest(machine, 'for d in /%s /%s; do (while dd if=/dev/urandom of=$d/short bs=64k count=4 conv=fsync; do rm $d/short; '
                 'done 2>/dev/null) & done' % names)
    run_in_guest(machine, 'for d in /%s /%s; do (while dd if=/dev/urandom of=$d/noise bs=16k count=64 oflag=direct conv=notrunc; '
                 'do :; done 2>/dev/null) & done' % names)
    machine.sendline('for d in %s %s; do /tests/records $d /$d%s & done' % (*names, FOLDER))


def acknowledged(text, names):
    """Drive -> how many records the guest has said to be safe."""
    counts = dict.fromkeys(names, 0)
    for name, number in re.findall(r'^ack (\w) (\d+)\r$', text, re.M):
        counts[name] = max(counts[name], int(number) + 1)
    return counts


def records_in(folder):
    """Numbers of the records that are right; in each file they end at the first one that is not."""
    found = set()
    for path in (path for path in folder.iterdir() if path.name.isdigit()):
        data, at, expected = path.read_bytes(), 0, first_of(int(path.name))
        while len(data) - at >= RECORD.size:
            checksum, size, number = RECORD.unpack_from(data, at)
            end = at + RECORD.size + size
            if end > len(data) or checksum != zlib.crc32(data[at + 4:end]) or number != expected:
                break
            found.add(number)
            at, expected = end, expected + FILES
    return found


def first_of(file):
    return file // FILES * FILES * PER_FILE + file % FILES


def missing_records(disk, count, folder):
    """Put a disk's journal to work and look at the rest; the records of 0 to count - 1 that are not there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    image = folder / 'disk.img'
    image.write_bytes(disk)
    run('/sbin/e2fsck', '-y', '-E', 'journal_only', image)
    run('/sbin/e2fsck', '-f', '-n', image)
    run('/sbin/debugfs', '-R', 'rdump %s %s' % (FOLDER, folder), image)
    records = folder / FOLDER[1:]
    return set(range(count)) - (records_in(records) if records.is_dir() else set())


def make_base(path):
    run('/sbin/mke2fs', '-q', '-t', 'ext4', '-b', write_log.ATOMIC, '-E', 'lazy_itable_init=0,lazy_journal_init=0', path,
        '%dK' % (DISK_BYTES >> 10))
    return path.read_bytes()


def start_machine(start, tmp_path, names):
    """What start returns, an emulator whose drives' writes are logged; its process id is in a file."""
    words = [*BOARD, '-pidfile', str(tmp_path / 'pid')]
    for name in names:
        shutil.copy(tmp_path / 'base.img', tmp_path / (name + '.img'))
        (tmp_path / (name + '.log')).touch()
        words += write_log.drive_words(name, tmp_path / (name + '.img'), tmp_path / (name + '.log'), DEVICES[name])
    conf = CONF + ''.join('disk = %s\nwrite = yes\n' % DRIVES[name] for name in names)
    return start(conf, qemu_arg=words, memory='2G', **PAIRS['svm-qemu'])


def kill(machine, tmp_path):
    os.kill(int((tmp_path / 'pid').read_text()), signal.SIGKILL)
    machine.wait()


def log_of(tmp_path, name):
    return write_log.read_log(tmp_path / (name + '.log'), DISK_BYTES)


def watch(machine, names, wanted):
    """Until the guest has said so much, and of each drive something."""
    seen = 0
    while seen < wanted or not all(acknowledged(machine.output, names).values()):
        machine.expect(r'ack \w \d+\r\n')
        seen += 1


def marks_in(entries):
    """Where the guest has written that a record is safe, past its caches and before it said so: [(entry, how many are)]."""
    return [(at, int(entry.data.split()[2].rstrip(b'\0')) + 1) for at, entry in enumerate(entries)
            if len(entry.data) == write_log.SECTOR and entry.data.startswith(b'ack ')]


def failures_of(log, rng, earlier):
    """Power failures: the entries until then, and what chooses among the unflushed ones. At the end, just behind a word of
    the guest's, or anywhere, so many times; none of the unflushed ones is kept, or some."""
    marks = [at + 1 for at, _ in marks_in(log)]
    yield log, None
    yield log, rng
    for _ in range(earlier):
        yield log[:rng.choice(marks)], None
        yield log[:rng.choice(marks)], rng
        yield log[:rng.randint(0, len(log))], rng


def kill_and_look(emulator, tmp_path, names, earlier):
    seed = int(os.environ.get('LINTEL_KILL_SEED', random.SystemRandom().randrange(1 << 32)))
    print('LINTEL_KILL_SEED=%d' % seed)
    rng = random.Random(seed)
    base = make_base(tmp_path / 'base.img')
    machine = start_machine(emulator, tmp_path, names)
    start_load(machine, names)
    watch(machine, names, rng.randint(*ACKS))
    time.sleep(rng.random() / 20)
    kill(machine, tmp_path)
    counts = acknowledged(machine.output, names)
    for name in names:
        log = log_of(tmp_path, name)
        assert marks_in(log)[-1][1] >= counts[name]
        for entries, choice in failures_of(log, rng, earlier):
            count = max((count for _, count in marks_in(entries)), default=0)
            print('drive %s: %d records acknowledged, %d entries, %d of them behind the last flush, %d discards'
                  % (DRIVES[name], count, len(entries), len(entries) - write_log.durable_count(entries),
                     sum(entry.flags & write_log.DISCARD != 0 for entry in entries)))
            missing = missing_records(write_log.rebuild(base, entries, choice), count, tmp_path / 'found')
            assert not missing, 'drive %s has lost the records %s' % (DRIVES[name], sorted(missing))


@pytest.mark.parametrize('names', PAIRS_OF_DRIVES, ids=''.join)
def test_what_is_flushed_outlives_a_kill(names, emulator, tmp_path):
    kill_and_look(emulator, tmp_path, names, 2)


@pytest.mark.soak
@pytest.mark.parametrize('kill_number', range(KILLS))
def test_what_is_flushed_outlives_many_kills(kill_number, emulator, tmp_path):
    kill_and_look(emulator, tmp_path, PAIRS_OF_DRIVES[kill_number % len(PAIRS_OF_DRIVES)], 20)


def forget_flushes(lintel):
    """A flush is over at once, and no drive hears of it: drive.c's submit is called by way of these few bytes. They stand
    where partitions were read at boot, which has no use any more."""
    here, submit = (lintel.symbols[name] for name in ('partition_table_read', 'drive_submit'))
    lintel.write(here, b'\x83\x3e' + bytes([BLOCK_FLUSH])                                  # cmp dword [request->operation]
                 + b'\x74\x0c'                                                            # je to the last three
                 + b'\x48\xb8' + submit.to_bytes(8, 'little') + b'\xff\xe0'               # mov rax, submit; jmp rax
                 + b'\x31\xc0\xc3')                                                       # xor eax, eax; ret
    lintel.write(lintel.symbols['user_ops'], here.to_bytes(8, 'little'))                   # user_ops.submit


def test_a_forgotten_flush_is_noticed(watched, tmp_path):  # noqa: F811
    """The very same, with a lintel that keeps flushes from the drives: all that was acknowledged is missing."""
    base = make_base(tmp_path / 'base.img')
    names = IDE, VIRTIO
    machine, lintel = start_machine(watched, tmp_path, names)
    lintel.run_to('sched_loop')
    forget_flushes(lintel)
    lintel.go()
    start_load(machine, names)
    watch(machine, names, 20)
    kill(machine, tmp_path)
    counts = acknowledged(machine.output, names)
    for name in names:
        entries = log_of(tmp_path, name)
        assert entries and not write_log.durable_count(entries)
        missing = missing_records(write_log.rebuild(base, entries), counts[name], tmp_path / 'found')
        assert missing == set(range(counts[name]))


def test_how_a_log_is_read(tmp_path):
    """A hole, a write that was cut off, and what is kept of the writes behind the last flush."""
    def entry(sector, data, flags=0):
        return struct.pack('<4Q', sector, len(data) // 512, flags, 0).ljust(512, b'\0') + data

    old, new, late = (bytes([byte]) * 8192 for byte in b'onl')
    log = [bytes(512), entry(16, new), bytes(1024), entry(0, b'', write_log.FLUSH), entry(24, late), entry(0, late)[:1024]]
    path = tmp_path / 'log'
    path.write_bytes(b''.join(log))
    entries = write_log.read_log(path, 65536)
    assert [(one.flags, one.first, len(one.data)) for one in entries] == [(0, 8192, 8192), (1, 0, 0), (0, 12288, 8192)]
    assert write_log.durable_count(entries) == 2
    sure = old + new + old * 6
    assert write_log.rebuild(old * 8, entries) == sure
    disks = {write_log.rebuild(old * 8, entries, random.Random(seed)) for seed in range(100)}
    pages = (new[:4096], late[:4096]), (old[:4096], late[:4096])
    assert disks == {old + new[:4096] + first + second + old[:4096] + old * 5 for first in pages[0] for second in pages[1]}
    assert write_log.rebuild(old * 8, entries, random.Random(5)) == write_log.rebuild(old * 8, entries, random.Random(5))
    path.write_bytes(bytes(512) + b''.join(entry(sector, bytes([sector]) * 512) for sector in (6, 7, 8, 9, 9, 11)))
    assert [(one.first // 512, len(one.data)) for one in write_log.read_log(path, 65536)] == [(6, 1024), (8, 1024), (9, 512),
                                                                                              (11, 512)]

# SPDX-License-Identifier: MIT
"""What a drive may hold after a power failure: rebuilt from the log that QEMU's blklogwrites driver keeps of all writes.

The layout is that of Linux's dm-log-writes: a sector of super block, then entries, each a sector of header with its data
behind it. The super block's count is only brought up to date at a flush, so it is not looked at: entries are read by their
own headers. An emulator that is killed may leave one that it had made room for and not written, a hole of zeros.
"""
import collections
import struct

SECTOR = 512
HEADER_BYTES = 24    # sector, sectors, flags; what else is there in Linux's is not used
FLUSH, FUA, DISCARD = 1, 2, 4
KNOWN_FLAGS = FLUSH | FUA | DISCARD
# What a write leaves whole or not at all: a disk's physical sector, which is what ext4 counts on for its super block.
ATOMIC = 4096

# What was written from which byte of the disk on, and where in the log the entry ends.
Entry = collections.namedtuple('Entry', 'flags first data end')


def drive_words(name, base, log, device):
    """QEMU's words for a disk whose writes are logged. The host keeps what a killed emulator has written, so that nothing
    need be safe on the host's own disks."""
    return ['-blockdev', 'driver=file,node-name=%s-file,filename=%s,cache.no-flush=on,discard=unmap' % (name, base),
            '-blockdev', 'driver=file,node-name=%s-log,filename=%s,cache.no-flush=on' % (name, log),
            '-blockdev', 'driver=blklogwrites,node-name=%s,file=%s-file,log=%s-log,discard=unmap' % (name, name, name),
            '-device', '%s,drive=%s' % (device, name)]


def entry_at(log, at, disk_sectors):
    """The entry whose header is there and which is whole; or None."""
    if at + SECTOR > len(log):
        return None
    sector, sectors, flags = struct.unpack_from('<3Q', log, at)
    if flags & ~KNOWN_FLAGS or sector + sectors > disk_sectors or any(log[at + HEADER_BYTES:at + SECTOR]):
        return None
    if not sectors and not flags & FLUSH:
        return None
    size = sectors * SECTOR
    data = bytes(size) if flags & DISCARD else log[at + SECTOR:at + SECTOR + size]
    end = at + SECTOR + (0 if flags & DISCARD else size)
    return Entry(flags, sector * SECTOR, data, end) if end <= len(log) else None


def is_cut_off(log, at):
    """The last entry of all, which the emulator did not live to write to its end."""
    return at + SECTOR > len(log) or at + SECTOR * (1 + struct.unpack_from('<Q', log, at + 8)[0]) > len(log)


def is_rest_of_page(before, entry):
    """Sectors that QEMU's IDE drive has written one by one: what they are of one page is ATOMIC like a write of it at once."""
    return (not before.flags and not entry.flags and len(entry.data) == SECTOR and entry.first % ATOMIC != 0
            and entry.first == before.first + len(before.data))


def read_log(path, disk_bytes):
    """All entries of a log, in their order."""
    log = path.read_bytes()
    entries, at = [], SECTOR
    while at < len(log):
        entry = entry_at(log, at, disk_bytes // SECTOR)
        if entry and entries and is_rest_of_page(entries[-1], entry):
            entries[-1] = entries[-1]._replace(data=entries[-1].data + entry.data, end=entry.end)
            at = entry.end
        elif entry:
            entries.append(entry)
            at = entry.end
        elif any(log[at:at + SECTOR]):
            assert is_cut_off(log, at), 'neither an entry of the log nor a hole at byte %d of %d' % (at, len(log))
            break
        else:
            at += SECTOR
    return entries


def durable_count(entries):
    """So many of the first entries are safe: all up to the last flush."""
    return max((i + 1 for i, entry in enumerate(entries) if entry.flags & FLUSH), default=0)


def rebuild(base, entries, rng=None):
    """The disk after a power failure: all writes up to the last flush, and, with rng, a random part of the later ones."""
    disk, durable = bytearray(base), durable_count(entries)
    share = rng.random() if rng else 0
    for number, entry in enumerate(entries):
        first, size = entry.first, len(entry.data)
        if number < durable or entry.flags & FUA:
            disk[first:first + size] = entry.data
            continue
        for at in range(-(first % ATOMIC), size, ATOMIC):
            if share and rng.random() < share:
                start, end = max(at, 0), min(at + ATOMIC, size)
                disk[first + start:first + end] = entry.data[start:end]
    return bytes(disk)

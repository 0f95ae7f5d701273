# SPDX-License-Identifier: MIT
"""Take the ELF kernel out of a Linux bzImage, as tools/mkiso does for `kernel.unpack = yes`.

The payload's place comes from the boot header (Documentation/arch/x86/boot.rst: setup_sects, payload_offset,
payload_length). The loadable segments of the ELF inside carry .bss as zeros; these are cut off from the file and stay
in p_memsz, which makes the file about half as long and changes no byte of what the kernel finds in memory.
"""
import bz2
import lzma
import struct
import subprocess
import sys
import zlib

ELF_HEADER = struct.Struct('<16sHHIQQQIHHHHHH')
PROGRAM_HEADER = struct.Struct('<IIQQQQQQ')
# Class -> both headers, and which words of a program header are offset, size in the file and alignment.
LAYOUTS = {
    b'\x7fELF\x01\x01': (struct.Struct('<16sHHIIIIIHHHHHH'), struct.Struct('<IIIIIIII'), 1, 4, 7),
    b'\x7fELF\x02\x01': (ELF_HEADER, PROGRAM_HEADER, 2, 5, 7),
}
PT_LOAD, PT_NOTE = 1, 4
PAGE = 4096


class Error(Exception):
    """A sentence about a file that can't be unpacked."""


def pipe(*command):
    """A decompressor that is a program; the payload's last word, its unpacked length, is none of its business."""
    def decompress(data):
        done = subprocess.run(command, input=data[:-4], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout
    return decompress


def stream(make):
    return lambda data: make().decompress(data)


# The first bytes of a payload say how it is packed.
PACKERS = [
    (b'\xfd7zXZ\0', 'xz', stream(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ))),
    (b'\x02\x21\x4c\x18', 'lz4', pipe('lz4', '-dcq')),
    (b'\x28\xb5\x2f\xfd', 'zstd', pipe('zstd', '-dcq')),
    (b'\x1f\x8b', 'gzip', stream(lambda: zlib.decompressobj(31))),
    (b'BZh', 'bzip2', stream(bz2.BZ2Decompressor)),
    (b'\x5d\0\0', 'lzma', stream(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE))),
]


def payload(data):
    """The packed kernel inside a bzImage."""
    if len(data) < 0x264 or data[0x202:0x206] != b'HdrS':
        raise Error('kernel.unpack needs a bzImage or an ELF file, and this is neither')
    version, = struct.unpack_from('<H', data, 0x206)
    if version < 0x208:
        raise Error('boot protocol %d.%02d names no payload; 2.08 does' % (version >> 8, version & 0xff))
    setup_sectors = data[0x1f1] or 4
    offset, length = struct.unpack_from('<II', data, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    if not length or start + length > len(data):
        raise Error('the payload (%d bytes at %d) lies outside the file of %d bytes' % (length, start, len(data)))
    return data[start:start + length]


def decompress(packed):
    for magic, name, unpacker in PACKERS:
        if packed.startswith(magic):
            break
    else:
        raise Error('the payload begins with %s, which no known packer writes' % packed[:4].hex())
    try:
        data = unpacker(packed)
    except (lzma.LZMAError, zlib.error, OSError) as error:
        raise Error('the %s payload is broken: %s' % (name, error)) from error
    # The last word of a payload is its unpacked length (gzip's own format ends with it, for others Linux appends it).
    told, = struct.unpack('<I', packed[-4:])
    if len(data) != told:
        raise Error('the %s payload unpacks to %d bytes and promises %d' % (name, len(data), told))
    return data


def trim(elf):
    """The same ELF without section headers and without the zeros at the end of its loadable segments."""
    header, entry, at_offset, at_size, at_align = LAYOUTS[elf[:6]]
    head = list(header.unpack_from(elf))
    table, entry_size, count = head[5], head[9], head[10]
    if entry_size != entry.size or table + count * entry_size > len(elf):
        raise Error('the unpacked kernel has no usable program headers')
    rows = [list(entry.unpack_from(elf, table + i * entry_size)) for i in range(count)]
    out = bytearray(header.size + count * entry_size)
    moved = []
    for row in rows:
        if row[0] != PT_LOAD:
            continue
        offset, size = row[at_offset], row[at_size]
        content = elf[offset:offset + size].rstrip(b'\0')
        out += bytes(-len(out) % PAGE)
        moved.append((offset, size, len(out)))
        row[at_offset], row[at_size], row[at_align] = len(out), len(content), min(row[at_align], PAGE)
        out += content
    for row in rows:
        if row[0] == PT_NOTE:
            row[at_offset] = relocate(row[at_offset], row[at_size], moved)
    kept = [row for row in rows if row[0] in (PT_LOAD, PT_NOTE)]
    head[5], head[6], head[10], head[11], head[12], head[13] = header.size, 0, len(kept), 0, 0, 0
    out[:header.size] = header.pack(*head)
    for i, row in enumerate(kept):
        entry.pack_into(out, header.size + i * entry_size, *row)
    return bytes(out)


def relocate(offset, size, moved):
    for old, length, new in moved:
        if old <= offset and offset + size <= old + length:
            return new + offset - old
    raise Error('the notes of the unpacked kernel lie outside its loadable segments')


def unpack(data):
    """bzImage in, ELF out; an ELF file is already what is wanted."""
    if data[:4] == b'\x7fELF':
        return data
    elf = decompress(payload(data))
    if elf[:6] not in LAYOUTS:
        raise Error('the payload is no ELF kernel')
    return trim(elf)


def main():
    if len(sys.argv) != 3:
        sys.exit('usage: bzimage.py BZIMAGE ELF')
    with open(sys.argv[1], 'rb') as file:
        data = file.read()
    try:
        elf = unpack(data)
    except Error as error:
        sys.exit('%s: %s' % (sys.argv[1], error))
    with open(sys.argv[2], 'wb') as file:
        file.write(elf)


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: MIT
"""The tools of this tree: packing, unpacking, reproducibility, the judgement of tools/emulate."""
import hashlib
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys

import pytest
from support import BUILD, GUEST, ROOT, mbr_image

sys.path.insert(0, str(ROOT / 'tools/lib'))
import bzimage  # noqa: E402
import config  # noqa: E402

KERNEL = GUEST / 'vmlinuz'
EPOCH = dict(os.environ, SOURCE_DATE_EPOCH='1700000000')


def mkiso(conf, *arguments, env=None):
    return subprocess.run([ROOT / 'tools/mkiso', conf, '--lintel', BUILD / 'lintel.elf', *arguments], env=env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


def write_conf(folder, text):
    path = folder / 'lintel.conf'
    path.write_text(text)
    return path


def test_the_two_tables_of_keys_are_the_same():
    header = (ROOT / 'hv/operator/config_keys.h').read_text()
    row = re.compile(r'^CONFIG_KEY\("([^"]*)", "([^"]*)", ([^,]*), "([^"]*)", "([^"]*)"\)', re.M)
    assert [tuple(key) for key in config.KEYS] == row.findall(header)


def test_two_isos_have_the_same_bytes(tmp_path):
    conf = write_conf(tmp_path, '[vm a]\nkernel = vmlinux\n')
    (tmp_path / 'vmlinux').write_bytes(b'\x7fELF not much of a kernel')
    sums = []
    for zone in ('UTC', 'Asia/Tokyo'):
        done = mkiso(conf, '-o', tmp_path / 'a.iso', env=dict(EPOCH, TZ=zone))
        assert done.returncode == 0, done.stderr
        sums.append(hashlib.sha256((tmp_path / 'a.iso').read_bytes()).hexdigest())
        os.utime(tmp_path / 'vmlinux', (1, 1))
    assert sums[0] == sums[1]


def test_two_initramfs_have_the_same_bytes(tmp_path):
    made = []
    for name in ('a', 'b'):
        subprocess.run([ROOT / 'tools/mkinitramfs', '--busybox', GUEST / 'busybox', '--modules', GUEST / 'modules',
                        '--tree', ROOT / 'tests/initramfs', '-o', tmp_path / name], check=True, capture_output=True)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


def modules_of(conf, tmp_path):
    """(path, name) of each file in the ISO of a configuration."""
    done = mkiso(conf, '-o', tmp_path / 'a.iso')
    assert done.returncode == 0, done.stderr
    out = tmp_path / 'grub.cfg'
    subprocess.run(['xorriso', '-osirrox', 'on', '-indev', tmp_path / 'a.iso', '-extract', '/boot/grub/grub.cfg', out],
                   check=True, capture_output=True)
    return re.findall(r'module2 --nounzip (\S+) (\S+)', out.read_text())


def test_a_file_that_two_machines_use_is_packed_once(tmp_path):
    conf = write_conf(tmp_path, '[vm a]\nkernel = k\ninitrd = sub/k\n[vm b]\nkernel = k\n')
    (tmp_path / 'sub').mkdir()
    for name in ('k', 'sub/k'):
        (tmp_path / name).write_bytes(name.encode())
    assert modules_of(conf, tmp_path) == [('/boot/lintel.conf', 'lintel.conf'), ('/boot/files/k', 'k'), ('/boot/files/1-k', 'sub/k')]


def test_a_file_with_partitions_is_packed_once(tmp_path):
    """The whole of it, under its own name, whatever is used of it; unless there is a file that is called so."""
    conf = write_conf(tmp_path, '[vm a]\nkernel = k\ndisk = mbr/part4\ndisk = mbr/part1\ndisk = mbr\ndisk = sub/part1\n')
    (tmp_path / 'sub').mkdir()
    for name in ('k', 'sub/part1'):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / 'mbr').write_bytes(mbr_image([(1, 1, 8), (4, 16, 4)]))
    assert modules_of(conf, tmp_path) == [('/boot/lintel.conf', 'lintel.conf'), ('/boot/files/k', 'k'),
                                          ('/boot/files/mbr', 'mbr'), ('/boot/files/part1', 'sub/part1')]


CONF_MISTAKES = [
    ('[vm a]\nkernel = k\ndisk = ide:1/part0\n', ':3: vm a: disk = ide:1/part0 is wrong; right would be a file or drive'),
    ('[vm a]\nkernel = k\ndisk = ram:4K/part1\n', ':3: vm a: disk = ram:4K/part1 is wrong; right would be ram:SIZE without a '),
    ('[vm a]\nkernel = k\ndisk = k/part1\n', ':3: vm a: disk = k/part1 names no partition of k, which has no table; right '
     'would be k\n'),
    ('[vm a]\nkernel = k\ndisk = mbr/part3\n', ':3: vm a: disk = mbr/part3 names no partition of mbr; right would be one of '
     'part1, part4\n'),
    ('[vm a]\nkernel = k\ndisk = nowhere/part1\n', ':3: vm a: disk nowhere/part1: No such file'),
    ('[vm a]\nkernel = k\ndisk = k/part0\n', ':3: vm a: disk = k/part0 names no partition of k, which has no table; right would be k\n'),
    ('[vm a]\nkernel = k\nwrite = yes\n', ':3: vm a: write stands above every disk; right would be below'),
    ('[vm a]\nkernel = k\ndisk = ide:1\nwrite = no\nwrite = no\n', ':5: vm a: write was given in line 4 already; '),
    ('[vm a]\nkernel = k\ndisk = k\nwrite = yes\n', ':4: vm a: write is for drives of the machine; right would be to '),
    ('[vm a]\nkernel = k\ndisk = ide:1\n[vm b]\nkernel = k\ndisk = ide:1/part2\nwrite = yes\n',
     ':6: vm b: disk = ide:1/part2 is what VM a has by line 3, and one of the two writes; right would be a drive or '),
    ('[vm a]\nkernel = k\ndisk = ide:1\ncdrom = empty\nwrite = yes\n[vm b]\nkernel = k\ndisk = ide:1\n',
     ':8: vm b: disk = ide:1 is what VM a has by line 3, and one of the two writes; right would be a drive or '),
    ('[vm a]\nkernel = k\ncdrom = virtio:0\n', ':3: vm a: cdrom = virtio:0 is wrong; right would be a file, '),
    ('[vm a]\nkernel = k\ncdrom = ide:0/part1\n', ':3: vm a: cdrom = ide:0/part1 is wrong; right would be a file, '),
    ('[vm a]\nkernel = k\ncdrom = ide:1\ndisk = ide:1\n[vm b]\nkernel = k\ncdrom = ide:1\n',
     ':7: vm b: cdrom = ide:1 is what VM a has by line 3; right would be a drive of its own'),
    ('', ':1: no VM is described'),
    ('kernel = k\n', ':1: "kernel" stands before any section'),
    ('[vm a]\n', ':1: vm a: no kernel is named'),
    ('[vm a]\nkernel = k\ndisk = nil\n', ':3: vm a: disk = nil is an empty file; right would be an image, or ram:SIZE '),
    ('[vm a]\nkernel = nowhere\n', ':2: vm a: kernel nowhere: No such file'),
    ('[vm a]\nkernel = k\nspeed = 3\n', ':3: vm a: there is no key "speed"; right would be one of kernel'),
    ('[vm a]\nkernel = k\nmemory = lots\n', ':3: vm a: memory = lots is wrong; right would be a size'),
    ('[vm a]\nkernel = k\nmemory = 0\n', ':3: vm a: memory = 0 is wrong'),
    ('[vm a]\nkernel = k\nballoon.max = 1G\n', ':3: vm a: balloon.max = 1024M is more than memory = 256M; right'),
    ('[vm a]\nkernel = k\nballoon.min = 65540K\nballoon.max = 64M\n',
     ':3: vm a: balloon.min = 65540K is more than balloon.max = 64M; right would be at most that'),
    ('[vm a]\nkernel = k\nballoon.max = 64M\nprefault = yes\n', ':4: vm a: prefault = yes gives all of memory'),
    ('[vm a]\nkernel = k\nkernel = k\n', ':3: vm a: kernel was given in line 2 already'),
    ('[vm a]\nkernel = "k\n', ':2: vm a: the quote is not closed'),
    ('[vm a]\nkernel = "k" k\n', ':2: vm a: " k" stands behind the closing quote'),
    ('[vm a]\nkernel = k\n[vm a]\nkernel = k\n', ':3: vm a: this name was given in line 1 already'),
    ('[vm a b]\nkernel = k\n', ':1: "a b" can\'t be the name of a VM'),
    ('[machine a]\n', ':1: [machine a] opens no section'),
    ('[hypervisor]\n[hypervisor]\n[vm a]\nkernel = k\n', ':2: there is a section [hypervisor] already'),
    ('[hypervisor]\nconsole = com9\n[vm a]\nkernel = k\n', ':2: console = com9 is wrong; right would be com1'),
    ('[vm a]\nkernel = k\nhello\n', ':3: vm a: "hello" is neither a section nor a value'),
    ('[vm a]\nkernel = k\ncmdline = \x01\n', ':3: vm a: byte 0x01 in column 11 is no text'),
    ('[vm a]\nkernel = k\nkernel.unpack = yes\n', ':2: vm a: kernel k: kernel.unpack needs a bzImage'),
    ('[vm a]\nkernel = vmlinuz\nkernel.unpack = yes\n[vm b]\nkernel = vmlinuz\n',
     ':5: vm b: the file vmlinuz is used with kernel.unpack = yes and without'),
]


@pytest.mark.parametrize('text, sentence', CONF_MISTAKES)
def test_a_mistake_in_a_configuration_is_a_sentence(text, sentence, tmp_path):
    conf = write_conf(tmp_path, text)
    (tmp_path / 'k').write_bytes(b'k')
    (tmp_path / 'nil').write_bytes(b'')
    (tmp_path / 'mbr').write_bytes(mbr_image([(1, 1, 8), (4, 16, 4)]))
    (tmp_path / 'vmlinuz').symlink_to(KERNEL)
    done = mkiso(conf, '-o', tmp_path / 'a.iso')
    assert done.returncode == 1
    assert 'mkiso: lintel.conf' + sentence in done.stderr
    assert not (tmp_path / 'a.iso').exists()


def test_comments_and_quotes_in_a_configuration():
    text = b'# x\n[vm a] ; y\nkernel = k#1 # z\ncmdline = "a # b"\n\tmemory=1G\r\n'
    parsed = config.parse('c', text)
    # k#1 is one word, and no name that GRUB could carry.
    assert parsed.errors == ['c:3: vm a: kernel = k#1 is wrong; right would be the name of a bzImage or a PVH ELF file']


@pytest.mark.parametrize('kernel', ['vmlinuz', 'cloud/vmlinuz', '686-pae/vmlinuz'])
def test_the_unpacked_kernel_is_the_one_inside(kernel):
    packed = (GUEST / kernel).read_bytes()
    whole, short = bzimage.decompress(bzimage.payload(packed)), bzimage.unpack(packed)
    assert len(short) < len(whole)

    def memory(elf):
        """What a loader makes of it: {physical address: bytes up to the last one that is not zero}, entry."""
        header, row, offset, length, _ = bzimage.LAYOUTS[elf[:6]]
        _, _, _, _, entry, table, _, _, _, size, count, *_ = header.unpack_from(elf)
        rows = [row.unpack_from(elf, table + i * size) for i in range(count)]
        # Behind the offset there are virtual and physical address, behind the length that in memory.
        return entry, [(row[offset + 2], row[length + 1], elf[row[offset]:row[offset] + row[length]].rstrip(b'\0'))
                       for row in rows if row[0] == 1]
    assert memory(short) == memory(whole)


@pytest.mark.parametrize('damage, sentence', [
    (lambda data: data[:100], 'neither'),
    (lambda data: b'\0' * 2000, 'neither'),
    (lambda data: data[:5000000], 'lies outside the file'),
    (lambda data: data[:0x206] + b'\x00\x02' + data[0x208:], 'boot protocol 2.00 names no payload'),
    (lambda data: data[:0x248] + b'\0\0\0\0' + data[0x24c:], 'which no known packer writes'),
    (lambda data: data[:3000000] + bytes(64) + data[3000064:], 'payload'),
])
def test_a_damaged_kernel_is_a_sentence(damage, sentence):
    with pytest.raises(bzimage.Error, match=sentence):
        bzimage.unpack(damage(KERNEL.read_bytes()))


def load_emulate():
    loader = importlib.machinery.SourceFileLoader('emulate', str(ROOT / 'tools/emulate'))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('emulate', loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize('stream, status', [
    (b'[lintel] power off\r\n', 0),
    (b'[lintel] vm a: off\r\n[lintel] power off', 0),
    (b'[lintel] reset\n', 0),
    (b'', 1),
    (b'[lintel] booting\r\n', 1),
    (b'[lintel] panic: broken: frame->owner\r\n', 1),
    (b'[lintel] power off\r\n[lintel] panic: x\r\n', 1),
    (b'[lintel] reset of vm a\r\n', 1),
    (b'\x1b[0m\x1b[2J[lintel] power off\r\n', 0),
    (b'guest says [lintel] power off\r\n', 1),
    (b'guest text without an end\r\n[lintel] power off\r\nlate guest text\r\n', 0),
])
def test_the_last_line_of_lintel_decides(stream, status):
    verdict = load_emulate().Verdict()
    for i in range(len(stream)):
        verdict.feed(stream[i:i + 1])
    assert verdict.finish() == status

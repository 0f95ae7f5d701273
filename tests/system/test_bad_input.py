# SPDX-License-Identifier: MIT
"""Files and configurations that are no good: each VM that can't be made is a sentence, the others run all the same."""
import re
import struct
import subprocess

import pytest
from support import BUILD, GUEST, MONITOR_PROMPT, run_in_monitor, shut_down

GOOD = {'kernel': 'hypercall.elf', 'memory': '64M'}
SETUP_BYTES, CODE_BYTES = 0x5000, 0x10000
# Offsets in a bzImage (Documentation/arch/x86/boot.rst) and in an ELF64 file with its program headers at 64.
BZIMAGE = {'setup_sects': (0x1f1, 'B'), 'syssize': (0x1f4, 'I'), 'jump': (0x200, 'H'), 'version': (0x206, 'H'),
           'loadflags': (0x211, 'B'), 'kernel_alignment': (0x230, 'I'), 'xloadflags': (0x236, 'H'),
           'payload_offset': (0x248, 'I'), 'payload_length': (0x24c, 'I'), 'pref_address': (0x258, 'Q'),
           'init_size': (0x260, 'I')}
ELF = {'class': (4, 'B'), 'phoff': (32, 'Q'), 'phnum': (56, 'H'), 'p_filesz': (64 + 32, 'Q'),
       'p_paddr': (64 + 24, 'Q'), 'p_memsz': (64 + 40, 'Q')}


def poke(data, table, **fields):
    data = bytearray(data)
    for name, value in fields.items():
        offset, kind = table[name]
        struct.pack_into('<' + kind, data, offset, value)
    return bytes(data)


def bzimage(**lies):
    """Debian's kernel cut short and its header made to agree with that, but for the lies."""
    data = (GUEST / 'vmlinuz').read_bytes()[:SETUP_BYTES + CODE_BYTES]
    truth = {'setup_sects': SETUP_BYTES // 512 - 1, 'syssize': CODE_BYTES // 16, 'payload_length': 4096}
    return poke(data, BZIMAGE, **{**truth, **lies})


def elf(**lies):
    return poke((BUILD / 'guests/hypercall.elf').read_bytes(), ELF, **lies)


# name of the VM and of its kernel, memory, the kernel, what lintel says of it
KERNELS = [
    ('no-kernel', '64M', lambda: b'this is no kernel\n', r'\(18 bytes\) is neither a bzImage nor a PVH ELF file'),
    ('empty', '64M', lambda: b'', r'\(0 bytes\) is neither'),
    ('cut-header', '128M', lambda: bzimage()[:0x280], 'is neither'),
    ('cut-code', '128M', lambda: bzimage()[:-1], r'is truncated: 86015 bytes, and its header speaks of 86016'),
    ('cut-elf', '64M', lambda: elf()[:0x1100], r'is truncated: \d+ bytes at 4096 are not in its 4352 bytes'),
    ('cut-phdr', '64M', lambda: elf()[:70], 'is truncated: program header 1 of'),
    ('syssize', '128M', lambda: bzimage(syssize=0xffffffff), 'is truncated'),
    ('sectors', '128M', lambda: bzimage(setup_sects=255), 'is truncated'),
    ('version', '128M', lambda: bzimage(version=0x200), r'boot protocol 2\.00; 2\.12 or later is needed'),
    ('no-entry', '128M', lambda: bzimage(xloadflags=0), 'has no 64-bit entry'),
    ('low', '128M', lambda: bzimage(loadflags=0), 'is a zImage'),
    ('jump', '128M', lambda: bzimage(jump=0xffff), 'has a setup header that ends nowhere'),
    ('payload', '128M', lambda: bzimage(payload_offset=0xffffffff), 'has its payload .* outside its 65536 bytes'),
    ('huge', '128M', lambda: bzimage(init_size=0xffffffff), 'needs 4194303 KiB at 0x1000000'),
    ('tiny', '128M', lambda: bzimage(init_size=16), 'says it needs 16 bytes of memory, less than its 65536'),
    ('far', '128M', lambda: bzimage(pref_address=2 ** 64 - 1), "which can't be"),
    ('crooked', '128M', lambda: bzimage(kernel_alignment=3), 'which is no power of two'),
    ('elf-class', '64M', lambda: elf(**{'class': 9}), 'is no ELF file for x86'),
    ('elf-phnum', '64M', lambda: elf(phnum=0xffff), 'has 65535 program headers; 1 to 32 are right'),
    ('elf-phoff', '64M', lambda: elf(phoff=1 << 60), 'is truncated'),
    ('elf-filesz', '64M', lambda: elf(p_filesz=1 << 62), 'is truncated'),
    ('elf-paddr', '64M', lambda: elf(p_paddr=2 ** 64 - 4096), '1 MiB to 4 GiB are right'),
    ('elf-memsz', '64M', lambda: elf(p_memsz=1 << 50), 'which 64 MiB of memory do not have'),
]


def sentences_missing(output, wanted):
    """Those of the wanted sentences (regular expressions) that are not one line of lintel's log each, once."""
    counts = {one: len(re.findall(r'^\[lintel\] (?: *\d+\.\d+ )?%s' % one, output, re.M)) for one in wanted}
    return {one: count for one, count in counts.items() if count != 1}


def test_every_bad_kernel_is_one_sentence_and_the_good_one_runs(emulator):
    conf = {'vm ' + name: {'kernel': name, 'memory': memory} for name, memory, _, _ in KERNELS}
    conf['vm small'] = {'kernel': 'vmlinuz', 'memory': '64M'}
    conf['vm initrd'] = {'kernel': 'vmlinuz', 'memory': '96M', 'initrd': 'vmlinux'}
    conf['vm no-initrd'] = {'kernel': 'hypercall.elf', 'memory': '64M', 'initrd': 'empty'}
    conf['vm much'] = {'kernel': 'hypercall.elf', 'memory': '64G'}
    conf['vm good'] = GOOD
    machine = emulator(conf, files={name: make() for name, _, make, _ in KERNELS})
    machine.expect('VM good: has powered itself off')
    machine.expect(MONITOR_PROMPT)
    wanted = ['VM %s: kernel %s .*%s' % (name, name, sentence) for name, _, _, sentence in KERNELS]
    wanted += ['VM small: kernel vmlinuz needs .* which 64 MiB of memory do not have',
               r'VM initrd: initrd vmlinux \(\d+ bytes\) does not fit beside the kernel into 96 MiB of memory',
               'VM no-initrd: initrd empty is empty',
               r'VM much: memory = 65536M does not fit: the machine has \d+M left that is not promised']
    assert not sentences_missing(machine.output.replace('\r', ''), wanted)
    table = run_in_monitor(machine, 'vm list')
    assert re.search(r'^good +powered off', table, re.M)
    assert len(re.findall(r'^\S+ +absent .*\d  \S', table, re.M)) == len(wanted)
    # Whoever starts it again is told again, and the machine goes on.
    again = run_in_monitor(machine, 'vm start tiny')
    assert again.count('says it needs 16 bytes') == 1
    assert shut_down(machine) == 0


CONF = """\
[hypervisor]
console = com9
[vm nowhere]
kernel = missing
[vm half]
kernel = hypercall.elf
initrd = missing
[vm nothing]
memory = 64M
[vm zero]
kernel = hypercall.elf
memory = 0
[vm odd]
kernel = hypercall.elf
memory = 65537K
[vm more]
kernel = hypercall.elf
memory = 99999999999G
[vm unknown]
kernel = hypercall.elf
speed = 3
[vm words]
kernel = hypercall.elf
vcpus = many
[vm good]
kernel = hypercall.elf
memory = 64M
[vm good]
kernel = hypercall.elf
[vm stray]
kernel = hypercall.elf
hello
[machine x]
kernel = hypercall.elf
"""
MISTAKES = [
    '2: hypervisor: console = com9 is wrong; right would be com1, com2, com3 or com4',
    '4: vm nowhere: kernel = missing is not among the boot files; right would be one of .*hypercall.elf',
    '7: vm half: initrd = missing is not among the boot files',
    '8: vm nothing: no kernel is named; right would be a line kernel = FILE',
    '12: vm zero: memory = 0 is wrong; right would be a size',
    '15: vm odd: memory = 65537K is wrong',
    '18: vm more: memory = 99999999999G is wrong',
    '21: vm unknown: there is no key "speed"; right would be one of kernel, ',
    '24: vm words: vcpus = many is wrong; right would be a number from 1 to 32',
    '28: vm good: this name was given in line 25 already',
    '32: vm stray: "hello" is neither a section nor a value',
    r'33: \[machine x\] opens no section',
]


def test_every_mistake_of_a_configuration_is_one_sentence_with_its_line(emulator):
    machine = emulator(CONF, unchecked=True)
    machine.expect('VM good: has powered itself off')
    machine.wait()
    output = machine.output.replace('\r', '')
    assert not sentences_missing(output, ['lintel.conf:' + one for one in MISTAKES])
    assert output.count('lintel.conf:') == len(MISTAKES)


@pytest.mark.parametrize('conf, sentence', [
    (b'', 'lintel.conf:1: no VM is described'),
    (b'# nothing\n\n[hypervisor]\nlog = debug\n', 'lintel.conf:4: no VM is described'),
    (bytes(range(256)) * 64, 'lintel.conf: [0-9]+ more mistakes are not shown'),
    (b'[vm a]\nkernel = missing\n', 'lintel.conf:2: vm a: kernel = missing is not among the boot files'),
], ids=['empty', 'no-vm', 'garbage', 'no-kernel'])
def test_without_any_vm_the_monitor_remains(conf, sentence, emulator):
    machine = emulator(conf, unchecked=True)
    machine.expect(r'\[lintel\] .*' + sentence)
    machine.expect(MONITOR_PROMPT)
    assert 'There is no VM' in run_in_monitor(machine, 'vm list')
    assert 'There is no VM called a, nor any other' in run_in_monitor(machine, 'vm start a')
    assert sentence.split(':')[0] in run_in_monitor(machine, 'log')
    assert shut_down(machine) == 0


def change_grub(iso, folder, change):
    """Another grub.cfg in a ready ISO."""
    script, changed = folder / 'grub.cfg', folder / 'changed.iso'
    subprocess.run(['xorriso', '-osirrox', 'on', '-indev', iso, '-extract', '/boot/grub/grub.cfg', script], check=True,
                   capture_output=True)
    script.chmod(0o644)
    script.write_text(change(script.read_text()))
    subprocess.run(['xorriso', '-indev', iso, '-outdev', changed, '-boot_image', 'any', 'replay', '-update', script,
                    '/boot/grub/grub.cfg'], check=True, capture_output=True)
    return changed


def test_no_configuration_at_all(emulator, make_iso, tmp_path):
    iso = make_iso({'vm good': GOOD})
    iso = change_grub(iso, tmp_path, lambda text: re.sub(r'^\s*module2 .*\n', '', text, flags=re.M))
    machine = emulator(iso=iso)
    machine.expect(r'\[lintel\] .*there is no module named lintel.conf')
    machine.expect(MONITOR_PROMPT)
    assert shut_down(machine) == 0

# SPDX-License-Identifier: MIT
"""Machines that lintel can't run on: one clear sentence, `halted`, and status 1 of tools/emulate. Others look odd and work."""
import re
import struct

import pytest
from support import BUILD

TINY = {'vm tiny': {'kernel': 'ports.elf', 'memory': '64M'}}
NO_ENGINE = r'this CPU has neither AMD SVM \(CPUID 80000001 ECX, bit 2, is clear\) nor Intel VMX \(CPUID 1 ECX, bit 5\)'
NO_LONG_MODE = r'this CPU has no long mode \(CPUID 80000001, EDX bit 29, is clear\): lintel needs a 64-bit x86 CPU'

# name, options of tools/emulate, the sentence
MACHINES = [
    ('no-nested-paging', {'cpu': 'qemu64'}, r'SVM has no nested paging \(CPUID 8000000A EDX is 0'),
    ('no-svm', {'cpu': 'qemu64,-svm'}, NO_ENGINE),
    ('no-svm-uefi', {'cpu': 'qemu64,-svm', 'firmware': 'uefi'}, NO_ENGINE),
    ('intel-without-vmx', {'cpu': 'Haswell'}, NO_ENGINE),
    ('32-bit-amd', {'cpu': 'athlon'}, NO_LONG_MODE),
    ('32-bit-intel', {'cpu': 'coreduo'}, NO_LONG_MODE),
    ('no-nx', {'cpu': 'qemu64,+npt,-nx'}, r'this CPU has no NX \(CPUID 80000001, EDX bit 20, is clear\)'),
    ('486', {'cpu': '486'}, NO_LONG_MODE),
    ('vmx-without-ept', {'engine': 'vmx', 'cpu': 'core2_penryn_t9600', 'memory': '256M'}, """VMX can't do "EPT" """),
    ('vmx-not-unrestricted', {'engine': 'vmx', 'cpu': 'corei5_lynnfield_750', 'memory': '256M'},
     """VMX can't do "unrestricted guest" """),
    ('bochs-no-nested-paging', {'emulator': 'bochs', 'cpu': 'turion64_tyler', 'memory': '256M'},
     'SVM has no nested paging'),
    ('bochs-32-bit', {'emulator': 'bochs', 'cpu': 'p3_katmai', 'memory': '256M'}, NO_LONG_MODE),
]


def expect_halt(machine, sentence):
    machine.expect(r'\[lintel\] halted: [^\r\n]*\r\n')
    assert re.match(r'\[lintel\] halted: ' + sentence, machine.child.after), machine.child.after
    assert machine.wait() == 1
    assert 'panic' not in machine.output


@pytest.mark.parametrize('options, sentence', [row[1:] for row in MACHINES], ids=[row[0] for row in MACHINES])
def test_a_machine_without(options, sentence, emulator):
    expect_halt(emulator(TINY, **options), sentence)


def entered_with(eax):
    """lintel.elf as another boot loader would enter it: a few instructions behind the text of .boot change EAX first."""
    data = bytearray((BUILD / 'lintel.elf').read_bytes())
    entry, table = struct.unpack_from('<QQ', data, 24)
    offset, address, _, size = struct.unpack_from('<QQQQ', data, table + 8)
    start = address + size
    code = b'\xb8' + struct.pack('<I', eax) + b'\xe9' + struct.pack('<i', entry - (start + 10))
    assert not any(data[offset + size:offset + size + len(code)]), 'nothing but padding may be overwritten'
    data[offset + size:offset + size + len(code)] = code
    struct.pack_into('<QQ', data, table + 8 + 24, size + len(code), size + len(code))
    struct.pack_into('<Q', data, 24, start)
    return bytes(data)


def test_a_loader_that_is_not_multiboot2(emulator, tmp_path):
    elf = tmp_path / 'lintel.elf'
    elf.write_bytes(entered_with(0x2badb002))
    expect_halt(emulator(TINY, lintel=elf), r'the boot loader is not multiboot2 \(EAX must hold 36d76289 at the entry\)')
    # The same with the right value boots, so that it is the value that was refused.
    elf.write_bytes(entered_with(0x36d76289))
    assert emulator(TINY, lintel=elf).wait() == 0


# name, options of tools/emulate, why it must work
ODD_MACHINES = [
    ('epyc', {'cpu': 'EPYC'}, 'the machine of make run'),
    ('max', {'cpu': 'max,-la57'}, 'every feature that QEMU has'),
    ('max-la57', {'cpu': 'max'}, 'five-level paging offered'),
    ('intel-vendor', {'cpu': 'max,vendor=GenuineIntel,-la57'}, 'the engine is chosen by feature bits, not by vendor'),
    ('qemu64', {'cpu': 'qemu64,+npt'}, 'the least: no 1 GiB pages'),
    ('opteron', {'cpu': 'Opteron_G5,+npt,-xsave'}, 'an old model; XSAVE on it hangs QEMU 7.2 itself'),
    ('phenom', {'cpu': 'phenom,+npt'}, 'an older one'),
    ('pc', {'qemu-arg': ['-machine', 'pc']}, 'the old chipset, without MCFG'),
    ('no-hpet', {'qemu-arg': ['-machine', 'q35,hpet=off']}, 'the PM timer alone'),
    ('no-vga', {'qemu-arg': ['-vga', 'none']}, 'no screen at all'),
    ('no-vga-uefi', {'qemu-arg': ['-vga', 'none'], 'firmware': 'uefi'}, 'no screen at all, no framebuffer tag'),
    ('pc-uefi', {'qemu-arg': ['-machine', 'pc'], 'firmware': 'uefi'}, 'the old chipset behind UEFI'),
    ('small', {'memory': '128M'}, 'little memory'),
    ('small-uefi', {'memory': '256M', 'firmware': 'uefi'}, 'a map in many pieces, little memory'),
    ('above-4g', {'memory': '6G'}, 'RAM above 4 GiB'),
    ('above-4g-uefi', {'memory': '6G', 'firmware': 'uefi'}, 'the same with an EFI map'),
    ('two-cpus', {'cpus': 2}, 'CPUs that are not started stay quiet'),
    ('bochs', {'emulator': 'bochs', 'memory': '256M'}, 'another SVM with next RIP, another BIOS, VGA text'),
    ('bochs-vmx', {'engine': 'vmx', 'memory': '256M'}, 'the other engine'),
]


@pytest.mark.parametrize('options', [row[1] for row in ODD_MACHINES], ids=[row[0] for row in ODD_MACHINES])
def test_a_machine_that_works(options, emulator):
    machine = emulator(TINY, **options)
    machine.expect('1[.][.][0-9]+\r\n(ok [0-9]+ [^\r\n]*\r\n)+# end')
    machine.expect('VM tiny: has powered itself off')
    assert machine.wait() == 0


def test_a_machine_that_can_not_be_powered_off_says_so(emulator):
    machine = emulator(TINY, qemu_arg=['-machine', 'q35,acpi=off'])
    machine.expect('ACPI: [^\r\n]*power-off unknown')
    machine.expect(r'\[lintel\] power off\r\n')
    expect_halt(machine, 'power-off is not possible: the ACPI tables do not tell how')


def test_modules_in_the_way_of_tables(emulator):
    """Little memory, and most of it taken by what the loader put behind lintel."""
    machine = emulator({'vm tiny': {**TINY['vm tiny'], 'initrd': 'vmlinux'}}, memory='160M')
    machine.expect('VM tiny: has powered itself off')
    assert machine.wait() == 0


def test_a_quiet_log_keeps_its_last_words(emulator):
    machine = emulator({'hypervisor': {'log': 'error'}, **TINY})
    assert machine.wait() == 0
    assert 'VM tiny: started' not in machine.output


def test_the_line_is_another_port(emulator, tmp_path):
    """What --qemu-arg adds comes first, so the terminal is the second port."""
    machine = emulator({'hypervisor': {'console': 'com2'}, **TINY},
                       qemu_arg=['-serial', 'file:%s' % (tmp_path / 'com1')])
    machine.expect(r'\[lintel\] lintel [0-9.]+, CPU ')
    machine.expect('VM tiny: has powered itself off')
    assert machine.wait() == 0
    first = (tmp_path / 'com1').read_text()
    assert 'lintel 0.' in first and 'VM tiny' not in first


def test_a_line_that_is_not_there_is_told(emulator):
    machine = emulator({'hypervisor': {'console': 'com3'}, **TINY})
    machine.expect(r'\[lintel\] lintel.conf: console = com3 is not there; the line stays where it is')
    assert machine.wait() == 0

# SPDX-License-Identifier: MIT
"""The common exits write no line of memory that another CPU writes (docs/developing.md, "Across CPUs").

What belongs to a vCPU, its local APIC or its CPU is reached by a pointer; what is one for all CPUs stands at a fixed
address. So no function on the way of a common exit may store to a fixed address, and few may lock anything. Read off
the machine code, as it is what runs.
"""
import functools
import re
import subprocess

import pytest
from support import BUILD

# The way of CPUID, RDMSR and WRMSR, calls, IN and OUT of a port, the local APIC's EOI and timer by MSR.
PLAIN = ['svm_handle_light', 'svm_handle_exit', 'vmx_handle_light', 'vmx_handle_exit', 'policy_cpuid_light',
         'policy_cpuid', 'exit_hypercall_light', 'policy_msr_read_light', 'policy_msr_write_light', 'port_nobody_read',
         'port_nobody_write', 'pm_timer_read']
# These lock what a pointer leads to: the vCPU's local APIC, the CPU's timers, a port's device (if it has a lock at all).
LOCKING = ['lapic_end_interrupt', 'lapic_deadline_write', 'lapic_msr_read', 'lapic_msr_write', 'timer_set',
           'exit_in_light', 'exit_out_light']
# Arrays of one element per CPU, in lines of their own; the index is this CPU's.
OF_THIS_CPU = ['sched_cpus']
ADDRESS = re.compile(r'^\s*[0-9a-f]+:\t(?P<code>.*)$')
# A memory operand as the destination: read-modify-write and compare alike begin with it; compare and test only read.
STORE = re.compile(r'^(lock )?(?P<name>[a-z0-9]+) +(QWORD|DWORD|WORD|BYTE) PTR (ds:)?\[?(?P<at>[^\],]+)')
ONLY_READ = ('cmp', 'test', 'call', 'jmp', 'push', 'bt', 'mul', 'imul', 'div', 'idiv', 'lidt', 'lgdt')
FIXED = re.compile(r'rip|0xffffffff8|-0x7[0-9a-f]{7}\b')


@pytest.fixture(scope='module')
def disassemble():
    """name -> its instructions."""
    @functools.lru_cache(maxsize=None)
    def lines_of(name):
        text = subprocess.run(['objdump', '-d', '-M', 'intel', '--no-show-raw-insn', '--disassemble=' + name,
                               BUILD / 'lintel.debug'], capture_output=True, text=True, check=True).stdout
        lines = [found.group('code').strip() for found in map(ADDRESS.match, text.splitlines()) if found]
        assert lines, 'there is no function %s' % name
        return lines

    return lines_of


def fixed_stores(lines):
    """Instructions that write to a fixed address, but for this CPU's part of an array."""
    stores = []
    for line in lines:
        found = STORE.match(line)
        if found and not found.group('name').startswith(ONLY_READ) and FIXED.search(found.group('at')):
            if not any('<%s' % name in line for name in OF_THIS_CPU):
                stores.append(line)
    return stores


@pytest.mark.parametrize('name', PLAIN + LOCKING)
def test_no_store_to_what_all_cpus_share(name, disassemble):
    lines = disassemble(name)
    assert fixed_stores(lines) == []
    if name in PLAIN:
        assert [line for line in lines if line.startswith(('lock ', 'xchg')) and 'PTR' in line] == []


def test_the_looking_sees_such_stores(disassemble):
    """Functions that do write what is shared: a counter of NMIs, a promise of frames, the log's lock."""
    assert any('lock' in line for line in fixed_stores(disassemble('exception_handle')))
    assert fixed_stores(disassemble('frame_promise'))
    assert any('lock xadd' in line for line in disassemble('frame_promise'))

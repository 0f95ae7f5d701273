# SPDX-License-Identifier: MIT
"""The machine's CPUs: all of them run, on every emulator and firmware; one that is silent is named; a panic stops all."""
import os
import re
import signal
import struct
import time

import pytest
from support import SCALE, to_monitor
from test_faults import SPIN, STACK_SIZE, TINY, watched  # noqa: F401: a fixture
from tiny_guests import console_of

PC = ['-M', 'pc']
MACHINES = [
    ('qemu-2-multi', {'cpus': 2, 'threads': 'multi'}),
    ('qemu-4-single-pc', {'cpus': 4, 'qemu_arg': PC}),
    ('qemu-8-single-uefi', {'cpus': 8, 'firmware': 'uefi'}),
    ('bochs-vmx-2', {'cpus': 2, 'engine': 'vmx'}),
    ('bochs-svm-4', {'cpus': 4, 'emulator': 'bochs'}),
]
MORE = ([('qemu-%d-%s-%s-%s' % (cpus, threads, firmware, board),
          {'cpus': cpus, 'firmware': firmware, 'threads': threads, 'qemu_arg': chips})
         for cpus in (2, 4, 8) for threads in ('multi', 'single')
         for firmware in ('bios', 'uefi') for board, chips in (('q35', []), ('pc', PC))] +
        [('bochs-%s-%d' % (engine, cpus), {'cpus': cpus, 'engine': engine, 'emulator': 'bochs'})
         for engine in ('svm', 'vmx') for cpus in (2, 4)])
COMPARED = r'(\d+) of (\d+) CPUs run; their time stamp counters were compared to within (\d+) ns'
ANSWER_S = 5    # PATIENCE_US of arch/x86/machine/smp.c
HALT = b'\xfa\xf4\xeb\xfd'    # cli; hlt; jmp to the hlt


def parameters(rows):
    return pytest.mark.parametrize('options', [row[1] for row in rows], ids=[row[0] for row in rows])


def all_run(emulator, options):
    machine = emulator({'vm web': TINY}, **{'memory': '512M', **options})
    found = machine.expect(COMPARED)
    assert found.group(1) == found.group(2) == str(options['cpus']), found.group(0)
    assert machine.wait() == 0
    assert 'VM web: has powered itself off' in machine.output
    assert 'ticks behind' not in machine.output, 'the emulators have one clock for all'


@parameters(MACHINES)
def test_all_cpus_run(options, emulator):
    all_run(emulator, options)


@pytest.mark.matrix
@parameters(MORE)
def test_all_cpus_run_everywhere(options, emulator):
    all_run(emulator, options)


def test_one_cpu_says_nothing(emulator):
    machine = emulator({'vm web': TINY})
    assert machine.wait() == 0
    assert 'CPUs run' not in machine.output


def test_a_cpu_that_does_not_answer(watched):  # noqa: F811
    """CPU 1's first instruction is a HLT: it is named and left out, the next one takes its number, the boot goes on."""
    machine, lintel = watched({'vm web': TINY}, cpus=3)
    lintel.run_to('smp_start')
    page = lintel.get('rdx')
    good = lintel.read(lintel.symbols['ap_trampoline'], len(HALT))
    lintel.write(lintel.symbols['ap_trampoline'], HALT)
    lintel.run_to('tsc_delay_us')    # behind the INITs at first
    lintel.run_to('lapic_send_init')    # which withdraws CPU 1
    assert lintel.get('rdi') == 1
    lintel.write(0xffff800000000000 + page, good)
    lintel.go()
    machine.expect(r'The CPU with APIC number 1 has not answered within %d s; it is left out\.' % ANSWER_S)
    found = machine.expect(COMPARED)
    assert found.group(1, 2) == ('2', '3')
    assert machine.wait() == 0
    assert 'VM web: has powered itself off' in machine.output


def cpu_of(lintel):
    """The number of the CPU that stands at the breakpoint: its record hangs at the top of its stack (percpu.h)."""
    record = lintel.read_word((lintel.get('rsp') | STACK_SIZE - 1) - 7)
    return struct.unpack('<I', lintel.read(record, 4))[0]


def flags_at_rest(lintel):
    """RFLAGS of both CPUs, once both stand in HLT."""
    give_up = time.monotonic() + 30 * SCALE
    resting = []
    while len(resting) < 2:
        assert time.monotonic() < give_up, resting
        lintel.go()
        time.sleep(0.1)
        lintel.stop()
        resting = re.findall(r'RFL=([0-9a-f]+) .* HLT=1', lintel.monitor('info registers -a'))
    return resting


def test_a_panic_stops_every_cpu(watched):  # noqa: F811
    """CPU 1 jumps into data while CPU 0 is in a guest that prints: both end in HLT, interrupts off, and not one word follows."""
    machine, lintel = watched({'vm spin': {**SPIN, 'cpus': '0'}, 'vm web': {**TINY, 'cpus': '1'}}, cpus=2)
    while lintel.run_to('svm_enter_guest') and cpu_of(lintel) != 1:
        pass
    lintel.set(rip=lintel.symbols['sched_cpus'])
    lintel.run_to('exception_stop_cpus')
    assert cpu_of(lintel) == 1
    os.kill(machine.child.pid, signal.SIGSTOP)    # the tool would end the emulator soon after the last line
    try:
        resting = flags_at_rest(lintel)
        lintel.go()
    finally:
        os.kill(machine.child.pid, signal.SIGCONT)    # or it could not be told to end the emulator
    assert not any(int(flags, 16) & 0x200 for flags in resting)
    machine.expect(r'\[lintel\] panic: page fault: executing [^\r\n]* \(CPU 1, serving VM web, vCPU 0\)\r\n')
    assert machine.wait() == 1
    assert re.search(r'\[lintel\] panic: [^\r\n]*\r\n$', machine.output)


def test_the_page_they_start_from_is_given_back(watched):  # noqa: F811
    machine, lintel = watched({'vm web': TINY}, cpus=2)
    lintel.run_to('smp_start')
    page = lintel.get('rdx')
    assert 0 < page < 1 << 20
    while lintel.run_to('frame_free', 'config_parse') == 'frame_free' and lintel.get('rdi') != page >> 12:
        pass
    assert lintel.get('rdi') == page >> 12, 'nobody has given it back before the first VM is read about'
    lintel.go()
    assert machine.wait() == 0


def test_the_stack_of_another_cpu_has_a_guard(watched):  # noqa: F811
    """CPU 1 has next to no stack left, between two turns: its double-fault stack tells."""
    machine, lintel = watched({'vm spin': {**SPIN, 'cpus': '0'}}, cpus=2)
    while lintel.run_to('sched_round') and cpu_of(lintel) != 1:
        pass
    bottom = lintel.get('rsp') & ~(STACK_SIZE - 1)
    lintel.set(rsp=bottom)
    lintel.go()
    machine.expect(r'\[lintel\] panic: double fault: the stack has overflown, rsp %016x, at sched_round\S* \(CPU 1\)\r\n'
                   % bottom)
    assert machine.wait() == 1


def test_idle_cpus_halt(watched):  # noqa: F811
    """The VM sleeps: whenever one looks, or nearly so, every CPU stands in HLT."""
    machine, lintel = watched({'vm sleep': {'kernel': 'halt.elf', 'memory': '64M', 'cmdline': 'open'}}, cpus=2)
    lintel.go()
    machine.expect('ready: ')
    to_monitor(machine)
    while '# halting' not in console_of(machine, 'sleep'):     # on the line it may be torn by the log
        pass
    seen = []
    for _ in range(10):
        time.sleep(0.3)
        lintel.stop()
        seen.append(re.findall(r'HLT=([01])', lintel.monitor('info registers -a')))
        lintel.go()
    assert seen.count(['1', '1']) > 5, seen

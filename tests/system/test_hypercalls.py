# SPDX-License-Identifier: MIT
"""What calls do that their guest can't see: exceptions that a rewritten one saves, and text on the console."""
import re

import pytest
from support import run_in_monitor, shut_down, to_monitor
from tiny_guests import PAIRS, console_of, guest, judge_tap, skip_cant

# The guest makes 1,000 calls at each of two places, one of which has the other vendor's instruction.
CALLS = 1000
CONF = {
    'vm spin': {'kernel': 'spin_cli.elf', 'memory': '64M'},
    'vm rewritten': {'kernel': 'hypercall_no_patch.elf', 'memory': '64M'},
    'vm kept': {'kernel': 'hypercall_no_patch.elf', 'memory': '64M', 'hypercall_patch': 'no'},
}


def counts_of(machine, name):
    return {reason: int(count) for count, reason in
            re.findall(r'^ *([0-9]+)  (.+)$', run_in_monitor(machine, 'stats ' + name), re.M)}


@pytest.mark.parametrize('pair', PAIRS)
def test_a_place_costs_one_exception(emulator, pair):
    skip_cant(pair, 'spin_cli')
    machine = emulator(CONF, **PAIRS[pair])
    ends = [r'VM rewritten: has powered itself off', r'VM kept: has powered itself off']
    machine.expect('|'.join(ends))
    machine.expect('|'.join(ends))
    to_monitor(machine)
    rewritten, kept = counts_of(machine, 'rewritten'), counts_of(machine, 'kept')
    assert (rewritten['exception'], rewritten['hypercall']) == (1, 2 * CALLS - 1), rewritten
    assert (kept['exception'], kept['hypercall']) == (CALLS, CALLS), kept
    assert shut_down(machine) == 0


# hypercall_race.c: its vCPUs call at each of its places at the same time.
PLACES, RACERS = 64, 4


@pytest.mark.parametrize('pair', PAIRS)
def test_a_place_costs_one_exception_per_vcpu(emulator, pair):
    machine = emulator({'vm race': guest('hypercall_race', cmdline='at-once'), 'vm last': guest('halt', cmdline='open')},
                       cpus=2, **PAIRS[pair])
    machine.expect('VM race: has powered itself off')
    to_monitor(machine)
    assert PLACES <= counts_of(machine, 'race')['exception'] <= PLACES * RACERS
    judge_tap(console_of(machine, 'race'))
    assert shut_down(machine) == 0


@pytest.mark.parametrize('pair', PAIRS)
def test_written_text_is_on_the_console(emulator, pair):
    machine = emulator({'vm writer': guest('hypercall_console')}, **PAIRS[pair])
    assert machine.wait(90) == 0
    lines = machine.output.replace('\r', '').replace('\0', '').split('\n')
    assert all(text in lines for text in ('written by a call', 'x' * 4095, '........across........')), lines
    assert not any('MUST NOT APPEAR' in line for line in lines), lines


def test_a_call_under_five_levels(emulator):
    """No CPUID shows them; a kernel that switches them on where QEMU's CPU has them makes the same calls."""
    machine = emulator({'vm five': guest('hypercall_modes', cmdline='five-levels')}, cpu='max')
    assert machine.wait(90) == 0
    judge_tap(machine.output.replace('\r', ''))
    assert '5-level paging: VMCALL is performed' in machine.output

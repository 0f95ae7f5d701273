# SPDX-License-Identifier: MIT
"""What a VM costs the others: CPU time in fair shares, none when it halts, memory when it touches it, few log lines."""
import re
import time

from support import SCALE, run_in_monitor, shut_down, to_monitor

SPIN = {'kernel': 'spin_cli.elf', 'memory': '64M'}
SLEEP = {'kernel': 'halt.elf', 'memory': '64M', 'cmdline': 'open'}
EXITS = re.compile(r'^ *([0-9]+)  (\w.*)$', re.M)


def rows(machine):
    """`vm list` as {name: (state, MiB given, MiB promised, seconds of CPU time)}."""
    table = run_in_monitor(machine, 'vm list')
    found = re.findall(r'^(\w+) +(running|stopped|powered off) +(\d+) MiB +(\d+) MiB +1 +(\d+\.\d{3})', table, re.M)
    assert found, table
    return {name: (state, int(given), int(memory), float(seconds)) for name, state, given, memory, seconds in found}


def exits(machine, name):
    return {what: int(count) for count, what in EXITS.findall(run_in_monitor(machine, 'stats ' + name))}


def test_who_spins_shares_and_who_halts_costs_nothing(emulator):
    machine = emulator({'vm lazy': SLEEP, 'vm eager': {**SLEEP, 'prefault': 'yes'}, 'vm one': SPIN, 'vm two': SPIN})
    machine.expect('# halting')
    to_monitor(machine)
    give_up = time.monotonic() + 60 * SCALE
    while min(exits(machine, name).get('hlt', 0) for name in ('lazy', 'eager')) < 1:
        assert time.monotonic() < give_up
    before, counts = rows(machine), {name: exits(machine, name) for name in ('lazy', 'eager')}
    while True:
        time.sleep(0.5)
        now = rows(machine)
        spent = {name: now[name][3] - before[name][3] for name in now}
        # While the emulator itself must wait, one of them pays for it, and gets it back by and by.
        if spent['one'] + spent['two'] > 2 and 0.4 < spent['one'] / (spent['one'] + spent['two']) < 0.6:
            break
        assert time.monotonic() < give_up, spent
    # Seconds later a halted one has not run for a millisecond, nor left the guest once: no tick wakes it.
    assert spent['lazy'] == spent['eager'] == 0
    assert counts == {name: exits(machine, name) for name in ('lazy', 'eager')}
    # Memory is given at first touch, or all of it (but the hole below 1 MiB) at the start.
    assert now['lazy'][1] <= 16 and now['lazy'][2] == 64, now
    assert now['eager'][1:3] == (63, 64), now
    assert shut_down(machine) == 0


def test_to_halt_with_interrupts_off_is_the_end(emulator):
    machine = emulator({'vm end': {'kernel': 'halt.elf', 'memory': '64M'}})
    machine.expect('VM end: has halted for good: every vCPU waits in HLT with interrupts off')
    machine.expect('VM end: has powered itself off')
    assert machine.wait() == 0


def test_thousands_of_unknown_msrs_are_few_lines(emulator):
    machine = emulator({'vm garbage': {'kernel': 'garbage.elf', 'memory': '64M'}, 'vm one': SPIN})
    machine.expect('# devices')
    to_monitor(machine)
    run_in_monitor(machine, 'vm stop garbage')
    counts = exits(machine, 'garbage')
    told = len(re.findall(r'VM garbage: vCPU 0 (?:reads|writes) MSR 0x[0-9a-f]+, which does not exist', machine.output))
    assert counts['rdmsr'] + counts['wrmsr'] > 5000, counts
    assert 0 < told < 200, told
    assert shut_down(machine) == 0

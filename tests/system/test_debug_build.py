# SPDX-License-Identifier: MIT
"""The debug build: every tiny guest beside others, without a panic, and a lock out of order is one."""
import re

import pytest
from support import ROOT
from test_faults import SPIN, watched  # noqa: F401: a fixture
from tiny_guests import GUESTS, PAIRS, PLAN, RESULT, run_all

# What `make test` runs, and what it leaves to `make matrix`: Bochs takes long, and so do two CPUs in one thread.
WHERE = [pytest.param(pair, {'memory': '2G', 'cpus': cpus}, id='%s-%d-cpus' % (pair, cpus),
                      marks=[] if (pair, cpus) == ('svm-qemu', 1) else [pytest.mark.matrix])
         for pair, cpus in [('svm-qemu', 1), *((pair, 2) for pair in PAIRS)]]
RANK_AT = 8    # in struct spinlock, behind two words
RANK_TIMER = len(re.findall(r'^ +RANK\(', (ROOT / 'hv/lib/lock.h').read_text(), re.M))    # the last of them


@pytest.mark.parametrize('pair, where', WHERE)
def test_all_guests(pair, where, emulator, debug_build):
    """Ranks of locks, who holds them, and owed TLB flushes are looked at all the way: none is a panic. What the guests
    measure is judged elsewhere (test_guests.py); here many share a CPU or two with a slow lintel."""
    machines = []

    def start(vms):
        machines.append(emulator(vms, lintel=debug_build / 'lintel.elf', **PAIRS[pair], **where))
        return machines[-1]

    consoles = run_all(start, pair)
    assert not any('panic' in machine.output for machine in machines)
    for name in GUESTS:
        assert len(RESULT.findall(consoles[name])) == int(PLAN.findall(consoles[name])[-1]), consoles[name]


def test_a_lock_out_of_order(watched, debug_build):  # noqa: F811
    """A run queue's lock gets the rank of the timers' lock, which is taken under it when two want one CPU."""
    machine, lintel = watched({'vm one': SPIN, 'vm two': SPIN}, debug=debug_build / 'lintel.debug',
                              lintel=debug_build / 'lintel.elf')
    lintel.run_to('sched_loop')
    lintel.write(lintel.symbols['sched_cpus'] + RANK_AT, bytes([RANK_TIMER]))
    lintel.go()
    machine.expect(r"panic: hv/lib/lock_check\.c:\d+: a lock of rank %d \(one CPU's timer queue\) is taken by who holds "
                   r"one of rank %d \(one CPU's timer queue\)" % (RANK_TIMER, RANK_TIMER))
    assert machine.wait() == 1
    assert re.search(r' by [0-9a-f]{16} sched_round', machine.output)

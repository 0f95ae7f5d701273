# SPDX-License-Identifier: MIT
"""Who gets which CPU: shares by weight, caps, pinning, idle VMs, vCPUs that come and go on several CPUs, stolen time."""
import re
import time

import pytest
from support import (INIT_REACHED, PROMPT, SCALE, debian_keys, run_in_guest, run_in_monitor, shut_down, to_monitor)

SPIN = {'kernel': 'spin_cli.elf', 'memory': '64M'}
SLEEP = {'kernel': 'halt.elf', 'memory': '64M', 'cmdline': 'open'}
ROW = re.compile(r'^(\w+) +running .* ([0-9]+\.[0-9]{3})', re.M)
STARVED = re.compile(r'^ *([0-9]+)  ms without a CPU', re.M)
# Bochs counts its own time; SVM there can't preempt who spins (tiny_guests.py).
alone = pytest.mark.alone
MACHINES = [pytest.param({'cpus': 2}, id='qemu-2', marks=alone),
            pytest.param({'cpus': 4}, id='qemu-4', marks=alone),
            pytest.param({'cpus': 2, 'engine': 'vmx'}, id='bochs-vmx-2')]
on_each_machine = pytest.mark.parametrize('options', MACHINES)


def cpu_seconds(machine):
    """What `vm list` says each VM has used, as {name: seconds}."""
    return {name: float(seconds) for name, seconds in ROW.findall(run_in_monitor(machine, 'vm list'))}


def spent(machine, total, enough=lambda used: True):
    """CPU time by VM from now on, until all of them have used `total` seconds and it is `enough`.

    An emulator's CPU that has to wait for one of the machine's counts on: to whom, is made good in the turns to come.
    """
    before, give_up = cpu_seconds(machine), time.monotonic() + 120 * SCALE
    while True:
        time.sleep(0.5)
        now = cpu_seconds(machine)
        used = {name: now[name] - before[name] for name in now}
        if sum(used.values()) > total and enough(used):
            return used
        assert time.monotonic() < give_up, used


def started(emulator, vms, **options):
    machine = emulator({'vm ' + name: keys for name, keys in vms.items()}, **options)
    machine.expect('ready: ')   # what a guest prints may be torn by the log, where there are several CPUs
    to_monitor(machine)
    return machine


def test_cpu_time_is_as_the_weights(emulator):
    weights = {'a': 1, 'b': 1, 'c': 2, 'd': 4}
    machine = started(emulator, {name: {**SPIN, 'weight': str(256 * share)} for name, share in weights.items()}, icount=True)
    used = spent(machine, 3, lambda used: all(abs(used[name] / sum(used.values()) * 8 - share) < 0.05 * share
                                              for name, share in weights.items()))
    print({name: round(seconds / sum(used.values()) * 8, 3) for name, seconds in used.items()})
    assert shut_down(machine) == 0


def test_fifteen_idle_vms_cost_nothing(emulator):
    machine = started(emulator, {'spin': SPIN, **{'idle%d' % i: SLEEP for i in range(15)}}, icount=True)
    spent(machine, 1)
    counts = [run_in_monitor(machine, 'stats idle%d' % i) for i in range(15)]
    starved = int(STARVED.search(run_in_monitor(machine, 'stats spin')).group(1))
    used = spent(machine, 3)
    spun = used.pop('spin')
    assert spun > 3
    assert set(used.values()) == {0}, used
    assert counts == [run_in_monitor(machine, 'stats idle%d' % i) for i in range(15)]
    # Nobody else has had the CPU, but for the monitor.
    assert int(STARVED.search(run_in_monitor(machine, 'stats spin')).group(1)) - starved < 100 * spun
    assert shut_down(machine) == 0


@on_each_machine
def test_pinned_and_capped(emulator, options):
    """Two on CPU 0, one of them capped, and one that has CPU 1."""
    machine = started(emulator, {'a': {**SPIN, 'cpus': '0'}, 'b': {**SPIN, 'cpus': '0', 'cap': '20'},
                                 'c': {**SPIN, 'cpus': '1'}}, memory='512M', **options)
    spent(machine, 6, lambda used: used['c'] == pytest.approx(used['a'] + used['b'], rel=0.1) and
          used['b'] == pytest.approx(used['c'] * 0.2, rel=0.15))
    for name in 'cab':
        machine.sendline('vm stop ' + name)
        machine.expect('VM %s: stopped: by the operator' % name)
    machine.expect('No VM runs any more: 3 stopped')
    assert shut_down(machine) == 0


def test_no_such_cpu(emulator):
    machine = emulator({'vm lost': {**SPIN, 'cpus': '2-5'}, 'vm good': SPIN}, cpus=2)
    machine.expect('VM lost: cpus names no CPU of this machine, which has 2')
    machine.expect('ready: ')
    to_monitor(machine)
    assert re.search(r'^lost +absent .*cpus names no CPU', run_in_monitor(machine, 'vm list'), re.M)
    assert shut_down(machine) == 0


@on_each_machine
def test_they_come_and_go(emulator, options):
    """Resets and stops of VMs wherever their vCPUs are at that moment; more spinning vCPUs than CPUs."""
    names = 'abcde'
    machine = started(emulator, {name: SPIN for name in names}, memory='640M', **options)
    for turn in range(12):
        name = names[turn % 5]
        if turn % 3 == 0:
            run_in_monitor(machine, 'vm stop ' + name)
            run_in_monitor(machine, 'vm start ' + name)
        else:
            run_in_monitor(machine, 'vm reset ' + name)
    assert set(spent(machine, 2, lambda used: min(used.values()) > 0.1)) == set(names)
    assert shut_down(machine) == 0


def stolen(machine):
    """Of all CPUs of a Debian guest together, in seconds: stolen, as it counts, and its uptime."""
    text = run_in_guest(machine, 'cat /proc/uptime /proc/stat')
    return int(re.search('^cpu +(.*)', text, re.M).group(1).split()[7]) / 100, float(text.split()[0])


@alone
@pytest.mark.parametrize('cpus, personality', [(1, 'kvm'), (2, 'kvm'), (1, 'vmware')])
def test_debian_sees_stolen_time(emulator, cpus, personality):
    """Four vCPUs that spin: on one CPU three quarters of their time are stolen, on two the half."""
    machine = emulator({'vm debian': debian_keys(vcpus='4', personality=personality)}, cpus=cpus)
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    run_in_guest(machine, 'for i in 1 2 3 4; do (while :; do :; done) & done; sleep 1')
    before, begin = stolen(machine)
    share, give_up = -1.0, time.monotonic() + 120 * SCALE
    while abs(share - (1 - cpus / 4)) >= 0.05:
        assert time.monotonic() < give_up, share
        run_in_guest(machine, 'sleep 5')
        after, end = stolen(machine)
        share = (after - before) / (end - begin) / 4
        print('%.2f s of %.2f s were stolen from each CPU: %.3f' % ((after - before) / 4, end - begin, share))
    to_monitor(machine)
    assert shut_down(machine) == 0

# SPDX-License-Identifier: MIT
"""Two Debian guests at once: consoles, memory, clocks and CPU time of their own; the end of one is not the other's."""
import itertools
import re
import time

from support import (INIT_REACHED, PROMPT, SCALE, debian_keys, run_in_guest, run_in_monitor, shut_down, to_monitor)

CONF = {'vm one': debian_keys(memory='384M'), 'vm two': debian_keys(memory='640M')}


def switch_to(machine, name):
    """From a console to that of another VM, which is replayed up to its prompt."""
    to_monitor(machine)
    machine.sendline('console ' + name)
    machine.expect('-- console of VM %s; Ctrl-] leads to the monitor --\r\n' % name)


MARKS = itertools.count(1)


def at_console(machine, name, command):
    """Run a command in that guest; a mark of its own tells what is new from what the ring replays."""
    switch_to(machine, name)
    mark = next(MARKS)
    machine.sendline('echo mark $((%d + 1000))' % mark)
    machine.expect('mark %d\r\n' % (mark + 1000))
    machine.expect(PROMPT)
    return run_in_guest(machine, command)


def cpu_seconds(machine):
    """What `vm list` says each VM used, as {name: seconds}."""
    table = run_in_monitor(machine, 'vm list')
    rows = re.findall(r'^(\w+) +running .* ([0-9]+\.[0-9]{3})', table, re.M)
    assert rows, table
    return {name: float(seconds) for name, seconds in rows}


def shares(machine, right):
    """Until each VM's part of the CPU time that guests use from now on is right; long enough for many turns. While the
    emulator itself must wait, one of them pays for it, and gets it back only by and by."""
    before, give_up = cpu_seconds(machine), time.monotonic() + 120 * SCALE
    while True:
        time.sleep(0.5)
        now = cpu_seconds(machine)
        used = {name: now[name] - before[name] for name in now}
        total = sum(used.values())
        if total > 1 and right({name: value / total for name, value in used.items()}):
            return
        assert time.monotonic() < give_up, used


def test_two_debian_guests(emulator):
    machine = emulator(CONF)
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    # The first VM has the line; the second one's console comes from its ring, from the kernel's first line on.
    switch_to(machine, 'two')
    machine.expect(r'\[ *0\.000000\] Linux version')
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    for name, mebibytes in (('one', 384), ('two', 640)):
        total = int(at_console(machine, name, 'free -m').split('Mem:')[1].split()[0])
        assert mebibytes - 100 < total < mebibytes, (name, total)
        clock = at_console(machine, name, 'cd /proc; date +%s; cat uptime; sleep 3; cat uptime')
        now, early, _, late, _ = (float(word) for word in clock.split())
        assert late >= early + 2 and abs(now - time.time()) < 600, clock
    # What is typed reaches the one that is shown.
    at_console(machine, 'one', 'echo first >/mark')
    at_console(machine, 'two', 'echo second >/mark')
    assert at_console(machine, 'one', 'cat /mark') == 'first\n'
    assert at_console(machine, 'two', 'cat /mark') == 'second\n'
    # Both spin: each gets its half. One spins: the other costs nothing, and answers all the same.
    at_console(machine, 'two', 'while :; do :; done &')
    at_console(machine, 'one', 'while :; do :; done &')
    to_monitor(machine)
    shares(machine, lambda of: all(0.3 < share < 0.7 for share in of.values()))
    machine.send('\x1d')
    assert 'still 42' in at_console(machine, 'one', 'kill $!; wait $!; echo still $((6 * 7))')
    to_monitor(machine)
    shares(machine, lambda of: of['one'] < 0.2)
    # One goes, the other stays; with the last one the machine goes.
    machine.sendline('console two')
    machine.expect('-- console of VM two; ')
    machine.sendline('poweroff -f')
    machine.expect('VM two: has powered itself off')
    assert 'alive 42' in at_console(machine, 'one', 'echo alive $((6 * 7))')
    to_monitor(machine)
    table = run_in_monitor(machine, 'vm list')
    assert re.search('^one +running', table, re.M) and re.search('^two +powered off +0 MiB', table, re.M)
    machine.sendline('console one')
    machine.expect('-- console of VM one; ')
    machine.sendline('poweroff -f')
    machine.expect('VM one: has powered itself off')
    assert machine.wait() == 0


def test_debian_boots_beside_one_that_spins_with_interrupts_off(emulator):
    machine = emulator({'vm spin': {'kernel': 'spin_cli.elf', 'memory': '64M'}, 'vm debian': debian_keys()})
    machine.expect('spinning')
    switch_to(machine, 'debian')
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    assert run_in_guest(machine, 'echo sum $((6 * 7))') == 'sum 42\n'
    machine.sendline('poweroff -f')
    machine.expect('VM debian: has powered itself off')
    # The other one runs, so the machine does, and the monitor can be reached; stopping it leaves the prompt.
    to_monitor(machine)
    assert re.search('^spin +running', run_in_monitor(machine, 'vm list'), re.M)
    machine.sendline('vm stop spin')
    machine.expect('No VM runs any more: 1 stopped, 1 powered off')
    machine.expect('lintel> ')
    assert shut_down(machine) == 0

# SPDX-License-Identifier: MIT
"""Guests that want the machine for themselves, each beside one that must not feel it."""
import re

from support import MONITOR_KEY, MONITOR_PROMPT
from tiny_guests import PAIRS, cant, console_of, guest, judge_tap, on_each_pair, vm_name

GOOD_ENDS = 'VM good: has powered itself off'
PATIENCE_S = 300


def beside_good(emulator, pair, attacker, **keys):
    """The attacker and the test of clocks on one CPU; the latter must come to its end, all points ok."""
    machine = emulator({'vm bad': guest(attacker, **keys), 'vm good': guest('timers')}, **PAIRS[pair])
    machine.expect(GOOD_ENDS, PATIENCE_S)
    machine.send(MONITOR_KEY)
    machine.expect(MONITOR_PROMPT, PATIENCE_S)
    return machine


def shut_down(machine):
    machine.sendline('shutdown')
    assert machine.wait(PATIENCE_S) == 0, machine.output[-4000:]


@on_each_pair
def test_endless_delivery(pair, emulator):
    """Host interrupts are taken although every entry ends within the delivery of the event it injects."""
    machine = beside_good(emulator, pair, 'endless_delivery')
    judge_tap(console_of(machine, 'good'))
    shut_down(machine)


@on_each_pair
def test_flood_of_lies(pair, emulator):
    """A guest that prints lintel's last words for ever: the tool goes on, the operator gets the prompt, others run."""
    machine = beside_good(emulator, pair, 'flood')
    assert '[lintel~] panic: not at all' in machine.output
    assert '[lintel] panic' not in machine.output
    machine.sendline('vm list')
    machine.expect(r'bad +running ', PATIENCE_S)
    machine.expect(MONITOR_PROMPT, PATIENCE_S)
    shut_down(machine)


@on_each_pair
def test_reset_storm(pair, emulator):
    """A guest that only resets itself gets its share of the CPU, and few lines of the log."""
    machine = beside_good(emulator, pair, 'reset_storm')
    machine.expect(r'VM bad: reset \(reset by port 0xcf9\), as [0-9]+ times before it', PATIENCE_S)
    assert machine.output.count('VM bad: reset') < 1000
    shut_down(machine)


WAYS_ASTRAY = ['idt_in_hole', 'idt_in_device', 'gdt_in_hole', 'stack_in_hole', 'stack_in_device', 'tables_in_hole',
               'tables_in_device', 'code_in_device', 'call_into_hole', 'call_into_device', 'impossible_state']


@on_each_pair
def test_astray(pair, emulator):
    """Tables, stacks and code where no RAM is, a state no CPU can run: each ends its own VM, which says why."""
    ways = [way for way in WAYS_ASTRAY if not cant(pair, 'astray', way)]
    vms = {'vm ' + vm_name(way): guest('astray', cmdline=way) for way in ways}
    machine = emulator({**vms, 'vm good': guest('timers')}, **PAIRS[pair])
    machine.expect(GOOD_ENDS, PATIENCE_S)
    machine.expect(MONITOR_PROMPT, PATIENCE_S)
    for way in ways:
        assert re.search(r'VM %s: stopped: .*\w' % vm_name(way), machine.output), way
    shut_down(machine)

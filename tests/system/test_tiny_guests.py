# SPDX-License-Identifier: MIT
"""Tiny guests in one boot: good ones beside hostile ones, triple faults, the monitor's view; one that needs many rounds."""
import re

from support import MONITOR_KEY, MONITOR_PROMPT, run_in_monitor
from tiny_guests import PAIRS, cant, console_of, guest, judge_tap, on_each_pair, skip_cant, vm_name, wait_for_log

HOSTILE = ['triple', 'hole', 'spin_cli', 'garbage']
PATIENCE_S = 120


def end(machine):
    """Out of every VM, by the operator's word."""
    machine.sendline('shutdown')
    assert machine.wait() == 0


@on_each_pair
def test_together(pair, emulator):
    """Guests that test the same devices at the same time do not feel one another."""
    names = ['cpuid', 'exceptions', 'hypercall', 'interrupts', 'mmio', 'msr', 'ports', 'timers']
    # One that waits at the end keeps the machine, so that the consoles can be read.
    vms = {'vm ' + name: guest(name) for name in names}
    machine = emulator({**vms, 'vm last': guest('halt', cmdline='open')}, **PAIRS[pair])
    wait_for_log(machine, *['VM %s: has powered itself off' % name for name in names], timeout=PATIENCE_S)
    machine.send(MONITOR_KEY)
    machine.expect(MONITOR_PROMPT)
    for name in names:
        judge_tap(console_of(machine, name), pair, name)
    end(machine)


@on_each_pair
def test_hostile(pair, emulator):
    """Whatever one guest does, its neighbour passes the test of clocks, and the operator keeps the machine."""
    bad = [name for name in HOSTILE if not cant(pair, name)]
    machine = emulator({'vm good': guest('timers'), **{'vm ' + vm_name(name): guest(name) for name in bad}},
                       **PAIRS[pair])
    wait_for_log(machine, 'VM good: has powered itself off', 'VM hole: stopped: ',
                 *['VM triple: stopped: the third triple fault'] * ('triple' in bad), timeout=PATIENCE_S)
    machine.send(MONITOR_KEY)
    machine.expect(MONITOR_PROMPT)
    judge_tap(console_of(machine, 'good'))
    listed = run_in_monitor(machine, 'vm list')
    assert re.search(r'^good +powered off ', listed, re.M), listed
    if 'triple' in bad:
        assert len(re.findall(r'VM triple: triple fault', machine.output)) == 3
        assert console_of(machine, 'triple').count('triple fault ahead') == 3
        assert re.search(r'^triple +stopped .* third triple fault', listed, re.M), listed
    run_in_monitor(machine, 'vm stop garbage')
    # Stopped VMs begin anew when they are asked to.
    machine.sendline('vm reset good')
    machine.expect(r'VM good: started')
    machine.expect(r'VM good: has powered itself off', PATIENCE_S)
    machine.sendline('vm reset hole')
    machine.expect(r'VM hole: stopped: ')
    machine.sendline('')
    machine.expect(MONITOR_PROMPT)
    if 'spin_cli' in bad:
        assert re.search(r'^spin-cli +running ', listed, re.M), listed
        assert re.search(r'^ +[1-9][0-9]*  physical interrupt$', run_in_monitor(machine, 'stats spin-cli'), re.M)
        machine.sendline('vm stop spin-cli')
        machine.expect('No VM runs any more: ')
    end(machine)


@on_each_pair
def test_triple_fault_resets(pair, emulator):
    """A triple fault tells reason, registers and code bytes, and resets; the third within 10 s is the end."""
    skip_cant(pair, 'triple')
    machine = emulator({'vm triple': guest('resets', cmdline='triple')}, **PAIRS[pair])
    machine.expect(r'VM triple: stopped: the third triple fault')
    machine.expect(MONITOR_PROMPT)
    text = console_of(machine, 'triple')
    assert text.count('# boot: all as new') == 3 and 'Bail out' not in text, text
    assert re.search(r'(?i)rip[ =:]+(0x)?[0-9a-f]+', machine.output)
    # UD2 stands where it happened.
    assert '0f 0b' in machine.output.lower()
    end(machine)


def test_no_physical_interrupt_is_lost(emulator):
    """QEMU loses one at an entry with an open window: often enough that each third run hung where lintel looked too early."""
    machine = emulator({'vm waits': guest('window_wait', cmdline='long')}, **PAIRS['svm-qemu'])
    assert machine.wait(PATIENCE_S) == 0
    judge_tap(machine.output.replace('\r', ''))

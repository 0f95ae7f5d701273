# SPDX-License-Identifier: MIT
"""A vCPU's whole state: shown to the operator, and read and set under guests that are at work without their noticing."""
import re

from support import to_monitor
from tiny_guests import CMDLINES, PAIRS, console_of, guest, judge_guest, on_each_pair, vm_name

# Every mode, events half delivered, timers of all kinds, x2APIC, several vCPUs in all power states.
AT_WORK = ['apic_registers', 'cpu_power', 'exceptions', 'hypercall_modes', 'interrupts', 'registers', 'smp_start', 'timers']
ROUNDS_MOST = 2000


def audit(machine, vm):
    """True: it runs, and all of its vCPUs are as they were. Log lines of VMs that go on may stand between."""
    machine.sendline('vcpu audit ' + vm)
    said = machine.expect(r'VM %s( does not run|: the state of [0-9]+ vCPUs?, [0-9]+ bytes each, was read, set and read '
                          r'again alike| is in a state that| has another state)[^\n]*\n' % re.escape(vm)).group(1)
    assert 'does not run' in said or 'alike' in said, machine.output[-2000:]
    return 'alike' in said


@on_each_pair
def test_states_are_read_and_set_under_guests_at_work(pair, emulator):
    """Guests pass their tests while their vCPUs' states are taken and put back, wherever they happen to be."""
    words = {'cpu_power': 'rounds', **CMDLINES.get(pair, {})}
    vms = {'vm ' + vm_name(name): guest(name, **({'cmdline': words[name]} if name in words else {})) for name in AT_WORK}
    # One that waits at the end keeps the machine, so that the consoles can be read.
    machine = emulator({**vms, 'vm last': guest('halt', cmdline='open')}, **PAIRS[pair])
    machine.expect('VM [a-z-]+: started')
    to_monitor(machine)
    running, audits = [vm_name(name) for name in AT_WORK], 0
    for _ in range(ROUNDS_MOST):
        running = [vm for vm in running if audit(machine, vm)]
        audits += len(running)
        if not running:
            break
    assert not running
    assert audits > len(AT_WORK), audits
    assert audit(machine, 'last')
    for name in AT_WORK:
        judge_guest(console_of(machine, vm_name(name)), pair, name)
    machine.sendline('shutdown')
    assert machine.wait() == 0

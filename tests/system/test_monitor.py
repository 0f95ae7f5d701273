# SPDX-License-Identifier: MIT
"""The operator's prompt: every command, what it says and what it does; mistakes are answered by sentences."""
import re

import pytest
from support import MONITOR_KEY, MONITOR_PROMPT, run_in_monitor, shut_down, to_monitor
from tiny_guests import console_of

CONF = {'vm spin': {'kernel': 'spin_cli.elf', 'memory': '64M'}, 'vm tiny': {'kernel': 'hypercall.elf', 'memory': '80M'}}
COMMANDS = ['help', 'vm list', 'vm start NAME', 'vm stop NAME', 'vm reset NAME', 'console NAME', 'stats NAME', 'log',
            'shutdown']
REFUSED = [
    ('frobnicate', '"frobnicate" is no command; right would be help, vm list, '),
    ('vm', '"vm ..." is no command; right would be vm list, vm start, vm stop, vm reset.'),
    ('vm lst', '"vm lst" is no command; right would be vm list'),
    ('vm start', 'vm start takes the name of one VM; right would be `vm start NAME`.'),
    ('vm stop tiny spin', 'vm stop takes the name of one VM'),
    ('stats nobody', 'There is no VM called nobody; right would be one of spin, tiny.'),
    ('console nobody', 'There is no VM called nobody'),
    ('log all', 'log takes no argument; right would be `log`.'),
    ('vm start spin', 'VM spin runs already; `vm reset spin` would begin it anew.'),
    ('vm stop tiny', 'VM tiny does not run: it is powered off.'),
    ('x' * 300, 'is no command'),
]


def state_of(machine, name):
    return re.search(r'^%s +(\w+(?: off)?) ' % name, run_in_monitor(machine, 'vm list'), re.M).group(1)


@pytest.fixture
def monitor(emulator):
    machine = emulator(CONF)
    machine.expect('VM tiny: has powered itself off')
    to_monitor(machine)
    return machine


def test_commands_that_look(monitor):
    said = run_in_monitor(monitor, 'help')
    assert all(re.search('^  %s +[a-z]' % command, said, re.M) for command in COMMANDS), said
    assert 'lintel 0.' in run_in_monitor(monitor, 'log')
    said = run_in_monitor(monitor, 'stats tiny')
    by_reason, in_all, _ = re.split('^ *([0-9]+)  exits in all$', said, flags=re.M)
    counts = {name: int(count) for count, name in re.findall(r'^ *([0-9]+)  (.+)$', by_reason, re.M)}
    # The tiny guest makes 36 calls, the first VMCALL by #UD, and writes each letter to its UART.
    assert counts['hypercall'] == 35 and counts['exception'] == 1 and counts['port'] > 200 and sum(counts.values()) == int(in_all), said
    for line, sentence in REFUSED:
        said = run_in_monitor(monitor, line)
        assert sentence in said, said
        assert said.count('\n') == 1 and said.endswith('.\n'), 'one sentence, one line: %r' % said
    # Editing: backspace, Ctrl-U, an empty line, spaces, Ctrl-C.
    assert state_of(monitor, 'spin') == 'running'
    monitor.send('helppp\x7f\x7f')
    assert 'vm list' in run_in_monitor(monitor, '')
    monitor.send('nonsense\x15')
    assert 'vm list' in run_in_monitor(monitor, '   help  ')
    monitor.send('nonsense\x03')
    monitor.expect(MONITOR_PROMPT)
    assert run_in_monitor(monitor, '') == ''
    assert shut_down(monitor) == 0


def test_the_lives_of_vms(monitor):
    # A VM that powered itself off is started anew; it has a console again and powers itself off again.
    assert 'VM tiny runs; `console tiny` shows it.' in run_in_monitor(monitor, 'vm start tiny')
    monitor.expect('VM tiny: has powered itself off')
    assert state_of(monitor, 'tiny') == 'powered off'
    # What happens while one types leaves the prompt, and what was typed, in sight.
    run_in_monitor(monitor, 'vm reset tiny')
    monitor.send('vm li')
    monitor.expect('VM tiny: has powered itself off\r\n')
    monitor.expect('lintel> vm li')
    monitor.sendline('st')
    monitor.expect('WHY')
    monitor.expect(MONITOR_PROMPT)
    monitor.sendline('console tiny')
    monitor.expect('-- console of VM tiny; Ctrl-] leads to the monitor --\r\n')
    for _ in range(3):      # all its lives are in the ring
        monitor.expect('1[.][.][0-9]+\r\n')
        monitor.expect('# end\r\n')
    to_monitor(monitor)
    # A spinning one can be reset and stopped, and what it was given comes back.
    run_in_monitor(monitor, 'vm reset spin')
    assert re.search(r'VM spin: reset \(by the operator\)', run_in_monitor(monitor, 'log'))
    assert state_of(monitor, 'spin') == 'running'
    monitor.sendline('vm stop spin')
    monitor.expect('No VM runs any more: 1 stopped, 1 powered off')
    monitor.expect('powers the machine off')
    monitor.expect(MONITOR_PROMPT)
    table = run_in_monitor(monitor, 'vm list')
    assert re.search(r'^spin +stopped +0 MiB +64 MiB .* by the operator$', table, re.M), table
    # Lines that come all at once are carried out one after the other.
    monitor.send('vm start spin\rvm stop spin\rvm reset spin\r')
    monitor.expect('VM spin: stopped: by the operator')
    monitor.expect('VM spin runs; `console spin` shows it.')
    monitor.expect(MONITOR_PROMPT)
    assert state_of(monitor, 'spin') == 'running'
    # Ctrl-] goes to and fro without losing the console.
    monitor.sendline('console spin')
    monitor.expect('-- console of VM spin')
    monitor.send(MONITOR_KEY)
    monitor.expect('-- monitor; ')
    monitor.expect(MONITOR_PROMPT)
    monitor.send(MONITOR_KEY)
    monitor.expect('-- console of VM spin')
    monitor.expect('spinning')
    to_monitor(monitor)
    assert shut_down(monitor) == 0
    assert monitor.output.replace('\r', '').rstrip().endswith('[lintel] power off')


def test_vms_that_fault_keep_the_machine(emulator):
    machine = emulator({'vm triple': {'kernel': 'triple.elf', 'memory': '64M'},
                        'vm hole': {'kernel': 'hole.elf', 'memory': '64M'}})
    machine.expect('No VM runs any more: 2 stopped')
    machine.expect(MONITOR_PROMPT)
    output = machine.output.replace('\r', '')
    assert output.count('VM triple: triple fault on vCPU 0') == 3
    assert output.count('VM triple: reset (triple fault)') == 2
    # Replayed: what it says may be cut by a line of the log while it is said.
    assert console_of(machine, 'triple').count('triple fault ahead') == 3
    assert re.search(r'VM triple: stopped: the third triple fault within 10 s', output)
    assert re.search(r'VM hole: stopped: vCPU 0 jumped to rip 0xd0000000', output)
    for name, deaths in (('triple', 3), ('hole', 1)):
        dumps = re.findall(r'VM %s, vCPU 0: rip .*\n(?:\[lintel\]   .*\n)+' % name, output)
        assert len(dumps) == deaths and all(' rax ' in dump and 'code bytes at rip: ' in dump for dump in dumps)
    assert 'the third triple fault' in run_in_monitor(machine, 'vm list')
    run_in_monitor(machine, 'vm start triple')
    machine.expect('VM triple: triple fault on vCPU 0')
    machine.expect('No VM runs any more: 2 stopped')
    machine.expect(MONITOR_PROMPT)
    assert shut_down(machine) == 0


def test_the_monitor_can_reset_the_machine(monitor):
    monitor.sendline('reboot')
    monitor.expect(r'\[lintel\] reset\r\n')
    assert monitor.wait() == 0

# SPDX-License-Identifier: MIT
"""What the tests of tiny guests share: the pairs of engine and emulator, what an emulator can't do, judging TAP lines."""
import re

import pexpect
import pytest
from support import MONITOR_KEY, MONITOR_PROMPT, ROOT, to_monitor

# Options of tools/emulate.
PAIRS = {
    'svm-qemu': {'cpu': 'EPYC'},
    'vmx-bochs': {'engine': 'vmx'},
    'svm-bochs': {'emulator': 'bochs'},
}
on_each_pair = pytest.mark.parametrize('pair', PAIRS)
# What runs on the other pairs alone: pair, tiny guest, a point of it (None: all of it), what the emulator does wrong.
CANT = [
    ('svm-bochs', 'triple', None, 'Bochs 2.7 does not intercept shutdown: it ends the whole machine'),
    ('svm-bochs', 'spin_cli', None, 'Bochs 2.7 takes no physical interrupt while an SVM guest spins with IF = 0'),
    ('vmx-bochs', 'astray', 'impossible_state', 'Bochs loads no segment that a CPU refuses: the guest meets #GP'),
    ('svm-bochs', 'astray', 'impossible_state', 'Bochs loads no segment that a CPU refuses: the guest meets #GP'),
    ('svm-qemu', 'exceptions', 'INT1 is #DB', 'QEMU 7.2 has no INT1: it is #UD'),
    ('svm-bochs', 'exceptions', 'DR6 names the breakpoint', 'Bochs 2.7 exits for #DB before it has written DR6'),
    ('svm-bochs', 'hypercall_modes', 'virtual-8086 mode', 'Bochs 2.7 ends at any SVM exit of virtual-8086 code'),
]
PATIENCE_ALL_S = 300
PLAN = re.compile(r'^1\.\.([0-9]+)\s*$', re.M)
RESULT = re.compile(r'^(not )?ok ([0-9]+)\b *(.*?)\s*$', re.M)


def cant(pair, guest, point=None):
    """Why this pair can't run the guest, or this point of it; or None."""
    return next((why for row_pair, row_guest, row_point, why in CANT
                 if (row_pair, row_guest, row_point) == (pair, guest, point)), None)


def skip_cant(pair, guest):
    if cant(pair, guest):
        pytest.skip("can't: " + cant(pair, guest))


def runs_with_all(source):
    return not re.search(r'^// (hostile|alone): ', source.read_text(), re.M)


# A guest's source may say in its first lines what it needs, one pair per line:
#     // conf: memory = 128M            a key of its [vm] section
#     // console: regular expression    what must stand on its console besides
#     // hostile: how it ends           no TAP: it runs beside others
#     // alone: who runs it             it needs what not every machine has
GUESTS = sorted(path.stem for path in (ROOT / 'tests/guests').glob('*.c') if runs_with_all(path))
CONF = re.compile(r'^// conf: *(\S+) *= *(.*?) *$', re.M)
CONSOLE = re.compile(r'^// console: *(.*?) *$', re.M)


def source_of(name):
    return (ROOT / 'tests/guests' / (name + '.c')).read_text()


# One of them cuts the other vCPU's work off by a timer, which needs a CPU for each: test_balloon.py gives it two.
SMP_GUESTS = [name for name in GUESTS if 'vcpus' in dict(CONF.findall(source_of(name))) and name != 'balloon_reset']


def guest(name, **keys):
    """The [vm] section of a tiny guest."""
    return {'kernel': name + '.elf', 'memory': '64M', **dict(CONF.findall(source_of(name))), **keys}


def vm_name(name):
    return name.replace('_', '-')


# What a guest must be told to leave out, by a word of its command line.
CMDLINES = {'svm-bochs': {'hypercall_modes': 'no-virtual-8086'}}


# All of them together would not fit the memory of a machine.
GUESTS_PER_BOOT = 20


def some_guests(names, pair, cmdlines=None):
    """These as VMs. The last one stops by a fault, which keeps the machine for the monitor."""
    words = {**CMDLINES.get(pair, {}), **(cmdlines or {})}
    return {'vm ' + vm_name(name): guest(name, **({'cmdline': words[name]} if name in words else {}))
            for name in names + ['hole']}


def judge_tap(text, pair='', name=''):
    """Every planned point must be there once, in order, and be ok, but for what the emulator can't do."""
    plans, results = PLAN.findall(text), RESULT.findall(text)
    assert plans, 'the guest printed no TAP plan:\n' + text[-4000:]
    excused = [point for row_pair, row_guest, point, _ in CANT if (row_pair, row_guest) == (pair, name) and point]
    failed = ['not ok %s %s' % (number, what) for bad, number, what in results
              if bad and not any(point in what for point in excused)]
    assert not failed, '%s\n%s' % ('\n'.join(failed), text[-4000:])
    assert [int(number) for _, number, _ in results] == list(range(1, int(plans[-1]) + 1)), text[-4000:]


def judge_guest(text, pair, name):
    """The TAP lines, and what the head of the source asks for."""
    judge_tap(text, pair, name)
    for pattern in CONSOLE.findall(source_of(name)):
        assert re.search(pattern, text), 'no %r in:\n%s' % (pattern, text[-4000:])


def console_of(machine, vm):
    """Everything on a VM's console, replayed: no log line has come between its characters."""
    machine.sendline('console ' + vm)
    machine.expect(r'-- console of VM %s; [^\n]*\n' % re.escape(vm))
    machine.send(MONITOR_KEY)
    machine.expect(r'\r\n-- monitor; ')
    text = machine.child.before.replace('\r', '')
    machine.expect(MONITOR_PROMPT)
    return text


def wait_for_log(machine, *sentences, timeout=None):
    """Until each of these has been in the log, in any order."""
    while True:
        missing = [one for one in sentences if not re.search(one, machine.output)]
        if not missing:
            return
        machine.expect(missing, timeout)


def run_all(start, pair, cmdlines=None, guests=GUESTS):
    """All of them, some per boot; start(vms) -> a machine. name -> its console."""
    consoles = {}
    for first in range(0, len(guests), GUESTS_PER_BOOT):
        names = guests[first:first + GUESTS_PER_BOOT]
        consoles.update(run_some(start(some_guests(names, pair, cmdlines)), names))
    return consoles


def run_some(machine, names):
    """Of a machine with some_guests: name -> its console. One that hangs spoils no other's result."""
    if machine.expect(['No VM runs any more', pexpect.TIMEOUT], PATIENCE_ALL_S) is pexpect.TIMEOUT:
        to_monitor(machine)
    else:
        machine.expect(MONITOR_PROMPT)
    consoles = {name: console_of(machine, vm_name(name)) for name in names}
    machine.sendline('shutdown')
    machine.wait()
    return consoles

# SPDX-License-Identifier: MIT
"""Memory that goes from VM to VM while they run, by the operator's word; more memory than there is; waiting for some."""
import re

import pytest
from support import MONITOR_KEY, MONITOR_PROMPT, run_in_monitor, to_monitor
from tiny_guests import PAIRS, console_of, guest, judge_guest, judge_tap, on_each_pair, wait_for_log

# lintel itself needs some 10 MiB of it.
MACHINE = {'memory': '512M'}
FORMS = {'basic': 'begun with capabilities 22', 'batch': 'begun with capabilities 26', '2m': 'begun with capabilities 2e'}


def driver(memory, **keys):
    return {'kernel': 'balloon_driver.elf', 'memory': memory, **keys}


def console_says(machine, vm, text):
    """On the VM's console, now or later; then back at the monitor."""
    machine.sendline('console ' + vm)
    machine.expect('-- console of VM %s; ' % vm)
    found = machine.expect(text)
    to_monitor(machine)
    return found


def has_given(mib):
    return r'# has given %d MiB, 0 words are foreign\r\n' % mib


def audit(machine, *vms):
    for vm in vms:
        said = run_in_monitor(machine, 'p2m audit ' + vm)
        assert 'agree about' in said, said


def row(machine, vm):
    """Of `balloon`: target, current, limit in MiB, rate, refused."""
    said = run_in_monitor(machine, 'balloon ' + vm)
    found = re.search(r'^%s +(\d+) MiB +(\d+) MiB +(\d+) MiB +(\d+) p/s +(\d+)$' % vm, said, re.M)
    assert found, said
    return [int(word) for word in found.groups()]


@on_each_pair
def test_memory_moves(pair, emulator):
    """Memory taken from one running VM boots another, then goes back."""
    machine = emulator({'vm one': driver('300M'), 'vm two': driver('250M')}, **{**PAIRS[pair], **MACHINE})
    machine.expect(r'VM two: memory = 250M does not fit: the machine has [0-9]+M left that is not promised')
    machine.expect(has_given(0))
    to_monitor(machine)
    assert row(machine, 'one')[:3] == [300, 300, 300]
    assert 'VM one is to keep 100M of 300M; its driver asks once a second.' in run_in_monitor(machine, 'balloon one 100M')
    console_says(machine, 'one', has_given(200))
    assert row(machine, 'one')[:2] == [100, 100]
    assert 'VM two runs' in run_in_monitor(machine, 'vm start two')
    console_says(machine, 'two', has_given(0))
    audit(machine, 'one', 'two')
    said = run_in_monitor(machine, 'balloon one 300M')
    assert re.search(r'VM one is not promised 300M: it has 100M of that, and the machine has \d+M left that is not promised',
                     said), said
    run_in_monitor(machine, 'vm stop two')
    wait_for_log(machine, 'VM two: stopped: by the operator')
    assert 'VM one is to keep 300M of 300M' in run_in_monitor(machine, 'balloon one 300M')
    console_says(machine, 'one', has_given(0))
    audit(machine, 'one')
    for wrong in ('63M', '301M', 'much', '65M1'):
        said = run_in_monitor(machine, 'balloon one ' + wrong)
        assert ("VM one can't keep %s; right would be a size from 64M (balloon.min) to 300M (balloon.max)." % wrong) in said
    machine.sendline('shutdown')
    assert machine.wait() == 0


@pytest.mark.parametrize('forms', FORMS)
def test_the_forms(forms, emulator):
    machine = emulator({'vm one': driver('128M', **{'balloon.forms': forms, 'balloon.max': '100M'})}, **PAIRS['svm-qemu'])
    machine.expect(FORMS[forms] + ' and 128 MiB')
    machine.expect(has_given(28))
    to_monitor(machine)
    for keep, given in (('64M', 64), ('100M', 28), ('65540K', 63)):
        run_in_monitor(machine, 'balloon one ' + keep)
        console_says(machine, 'one', has_given(given))
    audit(machine, 'one')
    machine.sendline('shutdown')
    assert machine.wait() == 0


@on_each_pair
def test_more_memory_than_there_is(pair, emulator):
    """Two VMs see 800 MiB on a machine of 512; a third target does not fit."""
    keys = {'balloon.max': '200M'}
    machine = emulator({'vm one': driver('400M', **keys), 'vm two': driver('400M', **keys), 'vm three': driver('400M', **keys)},
                       **{**PAIRS[pair], **MACHINE})
    machine.expect(r'VM three: balloon.max = 200M does not fit: the machine has [0-9]+M left that is not promised')
    to_monitor(machine)
    for vm in ('one', 'two'):
        console_says(machine, vm, has_given(200))
        assert row(machine, vm)[:3] == [200, 200, 400]
    audit(machine, 'one', 'two')
    machine.sendline('shutdown')
    assert machine.wait() == 0


@on_each_pair
def test_waiting_for_memory(pair, emulator):
    """A guest that touches more than it is promised waits until another gives; a reset shows it what is there."""
    greedy = driver('200M', **{'balloon.max': '64M', 'cmdline': 'touch'})
    machine = emulator({'vm one': driver('150M'), 'vm greedy': greedy}, **{**PAIRS[pair], 'memory': '300M'})
    machine.expect(r'VM greedy: waits for memory: vCPU 0 touched gpa 0x[0-9a-f]+, beyond what the VM is promised')
    to_monitor(machine)
    assert re.search(r'^greedy +running .* waits for memory', run_in_monitor(machine, 'vm list'), re.M)
    audit(machine, 'one', 'greedy')
    run_in_monitor(machine, 'vm reset greedy')
    found = console_says(machine, 'greedy', r'# touched all ([0-9]+) MiB\r\n')
    assert 100 < int(found.group(1)) < 170
    assert 'waits for memory' not in run_in_monitor(machine, 'vm list')
    # It keeps 64 MiB, as its driver learns now; started anew it sees all and touches all: more than the machine has left.
    console_says(machine, 'greedy', has_given(int(found.group(1)) - 64))
    run_in_monitor(machine, 'vm stop greedy')
    wait_for_log(machine, 'VM greedy: stopped: by the operator')
    run_in_monitor(machine, 'vm start greedy')
    while 'waits for memory' not in run_in_monitor(machine, 'vm list'):
        pass
    run_in_monitor(machine, 'balloon one 64M')
    console_says(machine, 'greedy', r'# touched all 200 MiB\r\n')
    console_says(machine, 'greedy', has_given(136))
    audit(machine, 'one', 'greedy')
    machine.sendline('shutdown')
    assert machine.wait() == 0


def test_a_smaller_reset_is_as_new(emulator, debug_build):
    """But for its memory map: the debug build compares all else with what it was at first."""
    machine = emulator({'hypervisor': {'log': 'debug'}, 'vm one': guest('halt', memory='150M', cmdline='open'),
                        'vm greedy': guest('halt', memory='120M', cmdline='open', **{'balloon.max': '64M'})},
                       lintel=debug_build / 'lintel.elf', **{**PAIRS['svm-qemu'], 'memory': '254M'})
    machine.expect('ready: ')
    to_monitor(machine)
    machine.sendline('vm reset greedy')
    found = machine.expect(r'VM greedy: (is as new, with ([0-9]+) of its 122880 KiB of memory|is as new: memory|after the reset it is not)')
    assert found.group(2) and 64 << 10 < int(found.group(2)) < 120 << 10, found.group()
    audit(machine, 'greedy')
    machine.sendline('shutdown')
    assert machine.wait() == 0


# The debug build proves all of a VM's memory at each call, which takes long.
@pytest.mark.parametrize('pair, build', [(pair, build) if build == 'as built' else pytest.param(pair, build, marks=pytest.mark.matrix)
                                         for build in ('as built', 'debug') for pair in PAIRS])
def test_a_connection_ends_inside_a_batch(pair, build, emulator, request):
    """By another vCPU, on another CPU: afterwards the books are right, and the monitor sees the target reached."""
    lintel, words = None, 'stay'
    if build == 'debug':
        lintel, words = request.getfixturevalue('debug_build') / 'lintel.elf', 'stay few'
    machine = emulator({'vm one': guest('balloon_reset', cmdline=words)}, cpus=2, lintel=lintel, **PAIRS[pair])
    machine.expect(r'ok 12 and no more is wanted')
    to_monitor(machine)
    assert not re.search('not ok|Bail out', machine.output), machine.output
    assert row(machine, 'one')[:3] == [64, 64, 112]
    audit(machine, 'one')
    run_in_monitor(machine, 'vm reset one')
    audit(machine, 'one')
    machine.sendline('shutdown')
    assert machine.wait() == 0


@pytest.mark.parametrize('pair', ['svm-qemu', 'vmx-bochs', pytest.param('svm-bochs', marks=pytest.mark.matrix)])
def test_a_drive_without_memory(pair, emulator):
    """What it reads ends with an error, its answers wait until another VM gives; and the log says for whom."""
    machine = emulator({'vm one': guest('halt', cmdline='open'), 'vm hungry': guest('virtio_hungry')},
                       **{**PAIRS[pair], 'memory': '180M'})
    wait_for_log(machine, 'VM hungry: disk0 answers with an error: the VM is promised no memory for what it reads',
                 'VM hungry: waits for memory: vCPU 0 for disk0 touched gpa 0xc700010, beyond what the VM is promised')
    to_monitor(machine)
    assert re.search(r'^hungry +running .* waits for memory', run_in_monitor(machine, 'vm list'), re.M)
    audit(machine, 'hungry')
    run_in_monitor(machine, 'vm stop one')
    wait_for_log(machine, 'VM hungry: has powered itself off')
    judge_tap(console_of(machine, 'hungry'), pair, 'virtio_hungry')
    assert 'waits for a reset' not in machine.output
    machine.sendline('shutdown')
    assert machine.wait() == 0


def test_one_that_waits_can_be_stopped(emulator):
    greedy = driver('400M', **{'balloon.max': '64M', 'cmdline': 'touch'})
    machine = emulator({'vm one': driver('200M'), 'vm greedy': greedy}, **{**PAIRS['svm-qemu'], **MACHINE})
    machine.expect(r'VM greedy: waits for memory')
    to_monitor(machine)
    run_in_monitor(machine, 'vm stop greedy')
    wait_for_log(machine, 'VM greedy: stopped: by the operator')
    assert 'VM one is to keep 100M' in run_in_monitor(machine, 'balloon one 100M')
    console_says(machine, 'one', has_given(100))
    machine.sendline('shutdown')
    assert machine.wait() == 0


def test_a_reset_brings_everything_back(emulator):
    machine = emulator({'vm one': driver('300M')}, **{**PAIRS['svm-qemu'], **MACHINE})
    machine.expect(has_given(0))
    to_monitor(machine)
    run_in_monitor(machine, 'balloon one 100M')
    console_says(machine, 'one', has_given(200))
    run_in_monitor(machine, 'vm reset one')
    # All of it, as nobody else has it; and the target stands, so it is given again.
    console_says(machine, 'one', r'begun with capabilities 2e and 300 MiB\r\n(.*\n)*?' + has_given(200))
    audit(machine, 'one')
    machine.sendline('shutdown')
    assert machine.wait() == 0


@pytest.mark.parametrize('cpus', [2])
def test_two_vms_race_on_two_cpus(cpus, emulator):
    """Frames that vCPUs still write to go to and fro between two VMs, each of which knows what is foreign."""
    machine = emulator({'vm one': guest('balloon_race'), 'vm two': guest('balloon_race'), 'vm last': guest('halt', cmdline='open')},
                       cpus=cpus, **PAIRS['svm-qemu'])
    wait_for_log(machine, 'VM one: has powered itself off', 'VM two: has powered itself off')
    to_monitor(machine)
    for name in ('one', 'two'):
        judge_tap(console_of(machine, name))
    machine.sendline('shutdown')
    assert machine.wait() == 0

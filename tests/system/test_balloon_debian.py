# SPDX-License-Identifier: MIT
"""The unmodified vmw_balloon module of Debian's kernels: down to a tenth and back, in every form, to every end of a life.

How a hostile guest speaks with the balloon is tests/guests' matter; here is the driver that is there to be served.
"""
import itertools
import re

import pexpect
import pytest
from support import (INIT_REACHED, PROMPT, QUICK, SCALE, debian_keys, fill, run_in_guest, run_in_monitor, shut_down,
                     to_monitor)
from test_memory import audit
from test_vmware import vmware_keys

PAGES_OF_MIB = 256
# What the driver counts as the calls by which its balloon grows and shrinks.
CALLS = {'basic': ('lock', 'unlock'), 'batch': ('batchLock', 'batchUnlock'), '2m': ('2m-lock', '2m-unlock')}
COUNTER = re.compile(r'^([\w-]+(?: capabilities)?|is resetting|\w+ +\((?:4k|2M)\)) *: +(\w+)', re.M)


# An emulated machine that others keep busy holds a guest up for longer than its watchdog likes.
CMDLINE = '"console=ttyS0 nosoftlockup"'
times = itertools.count(1000)
ASK_S = 2


def to_guest(machine, name):
    """From the monitor to the guest's prompt, which the replay of its console may have shown many times."""
    machine.sendline('console ' + name)
    machine.expect('-- console of VM %s; [^\n]*\n' % name)
    mark = next(times)
    machine.sendline('echo back$((%d + 1))' % (mark - 1))
    machine.expect('back%d\r\n' % mark)
    machine.expect(PROMPT)


def set_size(machine, name, size):
    """From the guest's prompt to the monitor, and back to that prompt."""
    to_monitor(machine)
    said = run_in_monitor(machine, 'balloon %s %s' % (name, size))
    assert 'VM %s is to keep %s of' % (name, size) in said
    to_guest(machine, name)


def balloon_holds(machine, mib, timeout=300):
    """Wait until it does, but for less than 2 MiB; what the driver counts."""
    said = run_in_guest(machine, '/tests/balloon %d' % (mib * PAGES_OF_MIB), timeout)
    return {name: int(value, 0) if value not in 'yn' else value for name, value in COUNTER.findall(said)}


def given_mib(machine, name):
    """From the guest's prompt and back: what the monitor says the VM has, in MiB, and that all records agree."""
    to_monitor(machine)
    given = int(re.search(r'^%s +running +(\d+) MiB' % name, run_in_monitor(machine, 'vm list'), re.M).group(1))
    audit(machine, name)
    to_guest(machine, name)
    return given


def down_and_back(machine, name, size, small):
    """The driver's counters at the small and at the full size (MiB); what the guest keeps is the same all the while."""
    run_in_guest(machine, fill('/kept', 24, 'urandom') + '; sha256sum /kept >/sum; mkdir -p /more')
    set_size(machine, name, '%dM' % small)
    low = balloon_holds(machine, size - small, timeout=1200)
    # What page tables and lintel's records take is not the guest's.
    assert given_mib(machine, name) <= small + 4
    assert 'OK' in run_in_guest(machine, 'sha256sum -c /sum')
    set_size(machine, name, '%dM' % size)
    high = balloon_holds(machine, 0, timeout=1200)
    assert high['current'] == 0
    # It can use again what it gave, and finds it zeroed or its own.
    run_in_guest(machine, 'mount -t tmpfs -o size=100%% more /more && dd if=/dev/zero of=/more/x bs=1M count=%d 2>/dev/null'
                 % (size // 2), timeout=600)
    assert given_mib(machine, name) >= size // 2
    assert 'OK' in run_in_guest(machine, 'rm /more/x; sha256sum -c /sum')
    assert run_in_guest(machine, 'dmesg | grep -c -e "cut here" -e BUG: -e Oops -e "Call Trace"') == '0\n'
    return low, high


# A call for each page takes minutes for 2 GiB on a busy machine, so that it is a smaller VM in `make test`.
@pytest.mark.parametrize('kernel, form, mib, small', [
    ('amd64', '2m', 2048, 204),
    ('amd64', 'batch', 2048, 204),
    ('amd64', 'basic', 320, 160),
    ('cloud', '2m', 2048, 204),
    pytest.param('686-pae', '2m', 2048, 204, marks=pytest.mark.soak),    # six minutes, most of it its driver's pauses
    pytest.param('amd64', 'basic', 2048, 204, marks=pytest.mark.soak),
])
def test_down_to_a_tenth_and_back(kernel, form, mib, small, emulator):
    machine = emulator({'vm debian': vmware_keys(kernel, memory='%dM' % mib, cmdline=CMDLINE, **{'balloon.forms': form})},
                       memory='%dM' % (mib + 768), timeout=7200)
    machine.expect(PROMPT)
    balloon_holds(machine, 0)
    low, high = down_and_back(machine, 'debian', mib, small)
    locks, unlocks = CALLS[form]
    assert low[locks] > 0 and high[unlocks] > 0, (low, high)
    for other in set(CALLS) - {form} - ({'batch'} if form == '2m' else set()):
        assert [high[name] for name in CALLS[other]] == [0, 0], high
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


def test_on_vmx(emulator):
    """In Bochs, which shows each exit of Intel's; smaller, as it is slow."""
    machine = emulator({'vm debian': vmware_keys('amd64', memory='192M', cmdline=QUICK)}, engine='vmx', memory='512M')
    machine.expect(PROMPT)
    balloon_holds(machine, 0)
    set_size(machine, 'debian', '112M')
    assert balloon_holds(machine, 80)['current'] > 0
    assert given_mib(machine, 'debian') <= 116
    set_size(machine, 'debian', '192M')
    assert balloon_holds(machine, 0)['current'] == 0
    run_in_guest(machine, fill('/x', 24) + '; rm /x', timeout=300)
    given_mib(machine, 'debian')
    assert run_in_guest(machine, 'dmesg | grep -c -e "cut here" -e BUG: -e Oops -e "Call Trace"') == '0\n'
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


def memory_total(machine):
    return int(re.search(r'^MemTotal: +([0-9]+) kB', run_in_guest(machine, 'cat /proc/meminfo'), re.M).group(1))


def new_life(machine, name):
    """From the monitor to the guest that was reset. The replay of its console shows the old life's prompts too: ask until
    one answers who has not the old life's file; what is typed before there is a shell may be lost."""
    machine.sendline('console ' + name)
    machine.expect('-- console of VM %s; [^\n]*\n' % name)
    marks, answer = [], pexpect.TIMEOUT
    while answer is pexpect.TIMEOUT:
        marks.append('%d' % next(times))
        # The echo has the backslash. A line that is cut short leaves no quote open.
        machine.sendline(r'[ -e /old ] || echo new\%s' % marks[-1])
        answer = machine.expect([r'new(%s)\r\n' % '|'.join(marks), pexpect.TIMEOUT], ASK_S / SCALE)
    mark = next(times)
    machine.sendline('touch /old; echo back$((%d + 1))' % (mark - 1))
    machine.expect(r'back%d\r\n' % mark)
    machine.expect(PROMPT)


def reset(machine, name):
    """From the guest's prompt to that of its next life."""
    to_monitor(machine)
    assert 'VM %s: reset (by the operator)' % name in run_in_monitor(machine, 'vm reset ' + name)
    new_life(machine, name)


def fill_and_sum(machine, mib):
    """A file with a sum, and so much more memory in use."""
    run_in_guest(machine, '%s; sha256sum /x >/sum; %s' % (fill('/x', 32, 'urandom'), fill('/y', mib)), timeout=300)


def test_no_life_ends_with_a_balloon(emulator):
    """Unloading the driver, a reboot and the operator's reset: each gives all back at once, and it can be given again."""
    machine = emulator({'vm debian': vmware_keys('amd64', memory='512M', cmdline=CMDLINE)}, memory='1280M')
    machine.expect(PROMPT)
    total = memory_total(machine)
    balloon_holds(machine, 0)
    set_size(machine, 'debian', '128M')
    balloon_holds(machine, 384)
    run_in_guest(machine, 'rmmod vmw_balloon')
    fill_and_sum(machine, 350)
    given_mib(machine, 'debian')
    assert 'OK' in run_in_guest(machine, 'sha256sum -c /sum; rm /x /y', timeout=300)
    balloon_holds(machine, 384)
    machine.sendline('reboot -f')
    machine.expect(r'VM debian: reset \(')
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    run_in_guest(machine, 'touch /old')
    assert memory_total(machine) == total
    balloon_holds(machine, 384)
    given_mib(machine, 'debian')
    reset(machine, 'debian')
    assert memory_total(machine) == total
    set_size(machine, 'debian', '512M')
    balloon_holds(machine, 0)
    to_monitor(machine)
    assert shut_down(machine) == 0


def test_what_one_vm_gives_boots_another(emulator):
    """The two memories exceed the machine, the two targets fit: first as they do not, then as they do."""
    machine = emulator({'vm first': vmware_keys('amd64', memory='640M', cmdline=CMDLINE),
                        'vm second': debian_keys(memory='512M', cmdline=CMDLINE)},
                       memory='1G')
    machine.expect(r'VM second: memory = 512M does not fit: the machine has \d+M left that is not promised')
    machine.expect(PROMPT)
    total = memory_total(machine)
    balloon_holds(machine, 0)
    set_size(machine, 'first', '224M')
    balloon_holds(machine, 416)
    to_monitor(machine)
    run_in_monitor(machine, 'vm start second')
    new_life(machine, 'second')
    fill_and_sum(machine, 200)
    # The machine has not what the first one once had: a reset brings what is there.
    to_monitor(machine)
    to_guest(machine, 'first')
    run_in_guest(machine, 'touch /old')
    reset(machine, 'first')
    assert 100 << 10 < memory_total(machine) < total - (100 << 10)
    given_mib(machine, 'first')
    to_monitor(machine)
    assert re.search(r'VM first is not promised 640M: it has \d+M of that, and the machine has \d+M left that is not promised',
                     run_in_monitor(machine, 'balloon first 640M'))
    to_guest(machine, 'second')
    assert 'OK' in run_in_guest(machine, 'sha256sum -c /sum', timeout=300)
    to_monitor(machine)
    run_in_monitor(machine, 'vm stop second')
    to_guest(machine, 'first')
    set_size(machine, 'first', '640M')
    reset(machine, 'first')
    assert memory_total(machine) == total
    to_monitor(machine)
    assert shut_down(machine) == 0

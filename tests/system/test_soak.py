# SPDX-License-Identifier: MIT
"""The long ones (make soak): what happens a hundred times must cost as much memory as what happened once.

LINTEL_SOAK_SECONDS is how long the two guests that work side by side run, and each fuzzer; LINTEL_SOAK_REBOOTS how often
Debian reboots by each method.
"""
import os
import re
import subprocess
import time

import pytest
from support import (BUILD, INIT_REACHED, PROMPT, QUICK, ROOT, SCALE, debian_keys, run_in_guest, run_in_monitor, shut_down,
                     to_monitor)
from test_debian import WAYS

pytestmark = pytest.mark.soak

SECONDS = int(os.environ.get('LINTEL_SOAK_SECONDS', '300'))
RESETS = 100
REBOOTS = int(os.environ.get('LINTEL_SOAK_REBOOTS', '100'))
METHODS = ['cf9', 'keyboard', 'fadt', 'port92']
FUZZERS = sorted((ROOT / 'tests/fuzz').glob('fuzz_*.c'))


def kept_memory(machine, name):
    """What lintel keeps for a VM that does not run, in KiB. Its guest memory must all have come back."""
    said = run_in_monitor(machine, 'stats ' + name)
    given, kept = (int(re.search(r'^ *([0-9]+)  KiB of %s' % what, said, re.M).group(1))
                   for what in ('guest memory given', "lintel's memory kept"))
    assert given == 0, said
    return kept


def stop(machine, name):
    machine.sendline('vm stop ' + name)
    machine.expect('VM %s: stopped: by the operator' % name)
    machine.sendline()
    machine.expect('lintel> ')
    return kept_memory(machine, name)


def show_console(machine, name):
    machine.sendline('console ' + name)
    machine.expect('-- console of VM %s; [^\n]*\n' % name)


@pytest.mark.parametrize('method', METHODS)
def test_resets_cost_nothing(method, emulator):
    """A hundred resets by the guest, then as many lives by the operator's word."""
    machine = emulator({'vm tiny': {'kernel': 'resets.elf', 'memory': '64M', 'cmdline': method}},
                       timeout=3600)
    machine.expect('# boot: all as new')
    to_monitor(machine)
    first = stop(machine, 'tiny')
    machine.sendline('vm start tiny')
    machine.expect('VM tiny: started')
    show_console(machine, 'tiny')
    for _ in range(RESETS):
        machine.expect('# boot: all as new')
    to_monitor(machine)
    assert stop(machine, 'tiny') == first
    for _ in range(RESETS):
        machine.sendline('vm start tiny')
        machine.expect('VM tiny: started')
        machine.sendline()
        machine.expect('lintel> ')
        assert stop(machine, 'tiny') == first
    assert 'Bail out' not in machine.output
    assert shut_down(machine) == 0


@pytest.mark.parametrize('kind, name', WAYS, ids=[row[0] for row in WAYS])
def test_debian_reboots(kind, name, debian):
    """Four vCPUs on two CPUs: after one boot and after a hundred more a VM that is stopped keeps the same."""
    kept = []
    for reboots in (0, REBOOTS):
        machine = debian({'vcpus': 4, 'cmdline': QUICK, 'memory': '256M'}, cpus=2, timeout=(300 + 60 * reboots) * SCALE)
        for _ in range(reboots):
            run_in_guest(machine, 'echo %s >/sys/kernel/reboot/type' % kind)
            # The third triple fault within ten seconds would stop the VM.
            machine.sendline('sleep %d; reboot -f' % (5 if kind == 'triple' else 0))
            machine.expect(r'VM debian: reset \(([^\r\n]*)\)\r\n')
            assert re.search(name, machine.child.match.group(1))
            machine.expect(INIT_REACHED)
            machine.expect(PROMPT)
            assert run_in_guest(machine, 'cat /sys/devices/system/cpu/online') == '0-3\n'
        to_monitor(machine)
        kept.append(stop(machine, 'debian'))
        assert shut_down(machine) == 0
    assert kept[0] == kept[1]


# Each line that it prints is one more time that the same bytes gave the same sum.
WORK = ('dd if=/dev/urandom of=/bytes bs=1M count=32 2>/dev/null; sum=$(sha256sum </bytes); '
        'while [ "$(sha256sum </bytes)" = "$sum" ]; do echo "sa""me"; done; echo "oth""er"')


def test_two_guests_work_side_by_side(emulator):
    machine = emulator({'vm one': debian_keys(), 'vm two': debian_keys(personality='none')}, timeout=SECONDS + 3600)
    machine.expect(PROMPT)
    machine.sendline(WORK)
    machine.expect('same')
    to_monitor(machine)
    show_console(machine, 'two')
    machine.expect(PROMPT)
    machine.sendline(WORK)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        machine.expect('same')
    for name in ('one', 'two'):
        to_monitor(machine)
        show_console(machine, name)
        machine.expect('same')
        machine.send('\x03')
        machine.expect(PROMPT)
        assert run_in_guest(machine, 'dmesg | grep -c "cut here"').endswith('0\n')
    assert 'other' not in machine.output
    to_monitor(machine)
    assert shut_down(machine) == 0


@pytest.mark.parametrize('source', FUZZERS, ids=[path.stem for path in FUZZERS])
def test_fuzzer_finds_nothing(source, tmp_path):
    subject = source.stem.replace('fuzz_', '')
    corpus = ROOT / 'build/corpus' / source.stem
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = [path for path in [ROOT / 'tests/fuzz/corpus' / subject] if path.is_dir()]
    done = subprocess.run([BUILD / 'fuzz' / source.stem, '-max_total_time=%d' % SECONDS, '-timeout=10',
                           '-rss_limit_mb=2048', '-verbosity=0', '-artifact_prefix=%s/' % tmp_path, corpus, *seeds],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=(SECONDS + 120) * SCALE)
    assert done.returncode == 0, done.stdout.decode(errors='replace')[-6000:]

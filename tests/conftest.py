# SPDX-License-Identifier: MIT
"""Fixtures of all tests: `make_iso` packs a configuration, `emulator` boots one, `debian` boots a guest to its prompt.

`make test` has a worker (pytest-xdist) per CPU of the machine: tests share nothing but the build, which they only read.
"""
import fcntl
import os
import pathlib
import re
import subprocess

import pytest
from support import BUILD, INIT_REACHED, PROMPT, ROOT, SCALE, Machine, debian_keys, emulate_command, pack_iso

# Files outside tests/system whose tests take long.
LONG = ('test_bench.py', 'test_build.py', 'test_emulate.py', 'test_guests.py')


def pytest_configure(config):
    config.addinivalue_line('markers', 'matrix: one case of every engine, firmware and CPU model (make matrix)')
    config.addinivalue_line('markers', 'soak: runs long (make soak)')
    config.addinivalue_line('markers', 'alone: measures shares of time: no other worker has a test meanwhile')


def is_alone(item):
    return item.get_closest_marker('alone') is not None


def pytest_collection_modifyitems(config, items):
    """For workers: first what takes long, then the short ones, so that all end together; at last what is alone."""
    if hasattr(config, 'workerinput'):
        items.sort(key=lambda item: (is_alone(item), item.path.name not in LONG and item.path.parent.name != 'system'))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A test that is `alone` begins when no other worker's test runs, and none begins before it has ended."""
    if not hasattr(item.config, 'workerinput'):
        yield
        return
    with open(pathlib.Path(item.config.getoption('basetemp')).parent / 'alone', 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX if is_alone(item) else fcntl.LOCK_SH)
        yield



@pytest.fixture
def make_iso(tmp_path):
    """make_iso(conf, files={name: path or bytes}, cmdline='', unchecked=False, lintel=ELF) -> path of the ISO."""
    count = 0

    def make(conf, *args, **options):
        nonlocal count
        count += 1
        folder = tmp_path / ('iso%d' % count)
        folder.mkdir()
        return pack_iso(folder, conf, *args, **options)

    return make


@pytest.fixture
def emulator(make_iso):
    """emulator(conf, files=..., cmdline=..., unchecked=..., **options of tools/emulate) -> a running Machine.

    The options are those of tools/emulate (support.emulate_command): firmware='uefi', memory='1G', screendump=path.
    iso=PATH boots a ready ISO instead of a configuration.
    """
    machines = []

    def start(conf=None, files=None, cmdline='', unchecked=False, lintel=None, iso=None, **options):
        iso = iso or make_iso(conf, files, cmdline, unchecked, lintel)
        machines.append(Machine(emulate_command(iso, **options)))
        return machines[-1]

    yield start
    for machine in machines:
        machine.end()


@pytest.fixture
def debian(emulator):
    """debian(vm={key: value}, **options of `emulator`) -> a Machine at the prompt of one Debian guest."""
    def start(vm=None, **options):
        machine = emulator({'vm debian': debian_keys(**(vm or {}))}, **options)
        machine.expect(INIT_REACHED)
        machine.expect(PROMPT)
        return machine

    return start


@pytest.fixture(scope='session')
def debug_build():
    """make DEBUG=1, in its own folder below the build's; nothing to do when it is there already."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(('MAKE', 'MFLAGS'))}
    folder = BUILD / 'debug'
    # The first worker that wants it makes it, others wait.
    with open(BUILD / '.debug', 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = subprocess.run(['make', 'DEBUG=1', 'BUILD=%s' % os.path.relpath(folder, ROOT), 'all'], cwd=ROOT,
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=600 * SCALE)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def pytest_terminal_summary(terminalreporter):
    """What `make matrix` has found: a row per machine, a column per test."""
    words = {'passed': 'passed', 'failed': 'failed', 'error': 'failed', 'skipped': "can't"}
    table = {}
    for outcome, word in words.items():
        for report in terminalreporter.getreports(outcome):
            found = re.search(r'test_matrix\.py::test_(\w+)\[(.*)\]$', report.nodeid)
            if found and (report.when == 'call' or outcome != 'passed'):
                table.setdefault(found.group(2), {})[found.group(1)] = word
    if not table:
        return
    terminalreporter.section('matrix')
    terminalreporter.line('%-40s %-8s %-8s %-8s %-8s' % ('machine', 'tiny', 'debian', 'smp', 'refused'))
    for machine, results in sorted(table.items()):
        cells = [results.get(test, results.get('cant', '-')) for test in ('tiny', 'debian', 'smp', 'refused')]
        terminalreporter.line(('%-40s %-8s %-8s %-8s %-8s' % (machine, *cells)).rstrip())
    counts = [sum(word == one for results in table.values() for one in results.values())
              for word in ('passed', 'failed', "can't")]
    terminalreporter.line("%d passed, %d failed, %d can't" % tuple(counts))

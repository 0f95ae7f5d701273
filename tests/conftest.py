# SPDX-License-Identifier: MIT
"""Fixtures of all tests: `make_iso` packs a configuration, `emulator` boots one, `debian` boots a guest to its prompt."""
import subprocess

import pytest
from support import (BUILD, INIT_REACHED, PROMPT, ROOT, TIMEOUT, Machine, conf_text, debian_keys, find_file, words_of)


def pytest_configure(config):
    config.addinivalue_line('markers', 'matrix: one case of every engine, firmware and CPU model (make matrix)')
    config.addinivalue_line('markers', 'soak: runs long (make soak)')


@pytest.fixture
def make_iso(tmp_path):
    """make_iso(conf, files={name: path or bytes}, cmdline='', unchecked=False, lintel=ELF) -> path of the ISO."""
    count = 0

    def make(conf, files=None, cmdline='', unchecked=False, lintel=None):
        nonlocal count
        count += 1
        folder = tmp_path / ('iso%d' % count)
        folder.mkdir()
        text = conf_text(conf)
        (folder / 'lintel.conf').write_bytes(text if isinstance(text, bytes) else text.encode())
        wanted = {name: find_file(name) for name in words_of(text) if '/' not in name and find_file(name)}
        for name, source in {**wanted, **(files or {})}.items():
            if isinstance(source, bytes):
                (folder / name).write_bytes(source)
            else:
                (folder / name).symlink_to(source)
        iso = folder / 'lintel.iso'
        command = [ROOT / 'tools/mkiso', folder / 'lintel.conf', '-o', iso, '--lintel', lintel or BUILD / 'lintel.elf',
                   '--cmdline', cmdline] + (['--unchecked'] if unchecked else [])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return iso

    return make


@pytest.fixture
def emulator(make_iso):
    """emulator(conf, files=..., cmdline=..., unchecked=..., **options of tools/emulate) -> a running Machine.

    The options are those of tools/emulate with _ for -: firmware='uefi', memory='1G', screendump=path. A list repeats
    the option, True gives it without a value. iso=PATH boots a ready ISO instead of a configuration.
    """
    machines = []

    def start(conf=None, files=None, cmdline='', unchecked=False, lintel=None, iso=None, **options):
        iso = iso or make_iso(conf, files, cmdline, unchecked, lintel)
        options.setdefault('timeout', TIMEOUT)
        command = [ROOT / 'tools/emulate']
        for name, value in options.items():
            option = '--' + name.replace('_', '-')
            for one in value if isinstance(value, list) else [value]:
                command += [option] if one is True else ['%s=%s' % (option, one)]
        machines.append(Machine(command + [iso]))
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

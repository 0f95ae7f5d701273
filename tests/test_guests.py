# SPDX-License-Identifier: MIT
"""Boots each tiny guest of tests/guests under lintel and reads its TAP lines from the serial line.

A guest's source may say in its first lines what it needs (one pair per line):
    // conf: memory = 128M            a key of its [vm] section
    // emulate: --cpu=phenom,+npt     an option of tools/emulate
    // console: regular expression    what must stand in the log or on the console besides
    // hostile: how it ends           no TAP: tests/system/test_tiny_guests.py runs it beside others
"""
import re

import pytest
from support import ROOT

GUESTS = sorted(path for path in (ROOT / 'tests/guests').glob('*.c') if '\n// hostile: ' not in path.read_text())
PATIENCE_S = 90     # a guest needs about three seconds
HEAD = re.compile(r'^// (conf|emulate|console): *(.*)$', re.M)
PLAN = re.compile(r'^1\.\.([0-9]+)\s*$', re.M)
RESULT = re.compile(r'^(not )?ok ([0-9]+)\b *(.*?)\s*$', re.M)


def read_head(source):
    told = {'conf': [], 'emulate': [], 'console': []}
    for kind, value in HEAD.findall(source.read_text()):
        told[kind].append(value.strip())
    return told


def judge_tap(output):
    """Every planned point must be there once, in order, and be ok."""
    plans, results = PLAN.findall(output), RESULT.findall(output)
    assert plans, 'the guest printed no TAP plan:\n' + output[-4000:]
    failed = ['not ok %s %s' % (number, text) for bad, number, text in results if bad and '# SKIP' not in text]
    assert not failed, '%s\n%s' % ('\n'.join(failed), output[-4000:])
    assert [int(number) for _, number, _ in results] == list(range(1, int(plans[-1]) + 1)), output[-4000:]


@pytest.mark.parametrize('source', GUESTS, ids=[path.stem for path in GUESTS])
def test_guest(source, emulator):
    head = read_head(source)
    keys = {'kernel': source.stem + '.elf', 'memory': '64M', **dict(re.split(r' *= *', one, 1) for one in head['conf'])}
    options = dict(one.lstrip('-').partition('=')[::2] for one in head['emulate'])
    machine = emulator({'vm ' + source.stem.replace('_', '-'): keys}, **options)
    status = machine.wait(PATIENCE_S)
    output = machine.output.replace('\r', '')
    judge_tap(output)
    for pattern in head['console']:
        assert re.search(pattern, output), 'no %r in:\n%s' % (pattern, output[-4000:])
    assert status == 0, 'the guest passed, but the machine ended with %s:\n%s' % (status, output[-4000:])

# SPDX-License-Identifier: MIT
"""How deep lintel's stacks are used: the compiler's own frame sizes along each chain of direct calls.

A vCPU that is loaded leaves lintel no double-fault stack (arch/x86/machine/exception.h), so it must not come to that.
Calls by pointer end a chain here; what whole exits take is measured in tests/system/test_faults.py.
"""
import functools
import re

import pytest
from support import BUILD, ROOT

STACK = int(re.search(r'CPU_STACK_SIZE (0x[0-9a-f]+)', (ROOT / 'arch/x86/machine/percpu.h').read_text()).group(1), 16)
# Chains follow one another by pointer: the scheduler's, an exit handler's, a device's, a log sink's.
CHAIN_MOST = STACK // 4
# Who may call itself, and how deep: the four levels of a page table.
RECURSIVE = {'walk_table': 4, 'table_is_empty': 4, 'tables_below_free': 4, 'pages_below_free': 4,
             'twin_agrees': 3}
RETURN_ADDRESS = 8
NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "[^"]*?\\n(\d+) bytes \(([a-z,]+)\)', re.M)
EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', re.M)


@pytest.fixture(scope='module')
def graph():
    """Function -> bytes of its frame, and function -> functions it calls; static ones carry their file's name."""
    frames, calls = {}, {}
    objects = (BUILD / '.objects').read_text().split()
    files = [(ROOT / name).with_suffix('.ci') for name in objects if (ROOT / name).with_suffix('.ci').is_file()]
    if not files:
        pytest.skip('only gcc writes its call graph')
    for file in files:
        text = file.read_text()
        for name, size, kind in NODE.findall(text):
            assert kind in ('static', 'dynamic,bounded'), '%s has a frame of unknown size: %s' % (name, kind)
            frames[name] = int(size)
        for caller, called in EDGE.findall(text):
            calls.setdefault(caller, set()).add(called)
    assert len(frames) > 500
    return frames, calls


def plain(name):
    return name.split(':')[-1].split('.')[0]


def test_who_calls_itself(graph):
    """Nobody but the walkers of page tables, whose levels are counted."""
    _, calls = graph

    def reaches_itself(start):
        seen, todo = set(), [start]
        while todo:
            for called in calls.get(todo.pop(), ()):
                if called == start:
                    return True
                if called not in seen:
                    seen.add(called)
                    todo.append(called)
        return False

    assert {plain(name) for name in calls if reaches_itself(name)} == set(RECURSIVE)


def test_the_deepest_chain_of_calls(graph):
    frames, calls = graph

    @functools.lru_cache(maxsize=None)
    def deepest(name):
        own = (frames.get(name, 0) + RETURN_ADDRESS) * RECURSIVE.get(plain(name), 1)
        below = [deepest(called) for called in calls.get(name, ()) if called != name]
        depth, chain = max(below, default=(0, ()))
        return own + depth, (plain(name),) + chain

    depth, chain = max(deepest(name) for name in frames)
    assert depth <= CHAIN_MOST, 'this chain of calls takes %d bytes: %s' % (depth, ' > '.join(chain))

# SPDX-License-Identifier: MIT
"""What the operator can ask about guests' memory, of a Debian guest at work, at its resets and after its end."""
import re

import pytest
from support import PROMPT, debian_keys, fill, run_in_guest, run_in_monitor, shut_down, to_monitor
from tiny_guests import PAIRS, console_of, guest, judge_tap, skip_cant, wait_for_log

RANGE = re.compile(r'^  ([0-9a-f]{12}) - ([0-9a-f]{12}) +([0-9]+) KiB  (given|RAM not given|hole|identity)$', re.M)


def audit(machine, name):
    """The proof's result: so many frames agree."""
    said = run_in_monitor(machine, 'p2m audit ' + name)
    frames = re.search(r'VM %s: list, nested tables, owners of frames and tree agree about ([0-9]+) frames' % name, said)
    assert frames, said
    return int(frames.group(1))


def dump(machine, name):
    """Ranges as (start, end, kind): they cover all of the 48 bits, each another kind than the one before."""
    said = run_in_monitor(machine, 'p2m dump ' + name)
    ranges = [(int(start, 16), int(end, 16) + 1, kind) for start, end, _, kind in RANGE.findall(said)]
    assert ranges and ranges[0][0] == 0, said
    if 'ranges more' not in said:
        assert ranges[-1][1] == 1 << 48, said
    for before, after in zip(ranges, ranges[1:]):
        assert before[1] == after[0] and before[2] != after[2], said
    return ranges


def kind_at(ranges, address):
    return next(kind for start, end, kind in ranges if start <= address < end)


def test_a_debian_guest_agrees(emulator):
    machine = emulator({'vm debian': debian_keys(memory='4G', pages='2m')}, memory='5G')
    machine.expect(PROMPT)
    to_monitor(machine)
    before = audit(machine, 'debian')
    ranges = dump(machine, 'debian')
    assert kind_at(ranges, 0x1000000) == 'given'            # the kernel
    assert kind_at(ranges, 0xa0000) == kind_at(ranges, 0xc0000000) == 'hole'
    assert kind_at(ranges, 5 << 30) == 'hole'
    assert {kind for _, _, kind in ranges} == {'given', 'RAM not given', 'hole'}
    machine.sendline('console debian')
    machine.expect(PROMPT)
    run_in_guest(machine, fill('/tmp/x', 64))
    to_monitor(machine)
    assert audit(machine, 'debian') >= before + 64 * 256 - 512
    assert 'VM debian: reset' in run_in_monitor(machine, 'vm reset debian')
    audit(machine, 'debian')
    assert shut_down(machine) == 0


@pytest.mark.parametrize('pair', PAIRS)
def test_tiny_guests_agree(pair, emulator):
    """On every engine's tables; a VM that does not run has none."""
    skip_cant(pair, 'spin_cli')
    machine = emulator({'vm spin': {'kernel': 'spin_cli.elf', 'memory': '64M', 'pages': '4k'},
                        'vm tiny': {'kernel': 'halt.elf', 'memory': '80M'}}, **PAIRS[pair])
    machine.expect('VM tiny: has halted for good')
    to_monitor(machine)
    assert audit(machine, 'spin') > 0
    dump(machine, 'spin')
    assert 'VM tiny has no memory: it does not run.' in run_in_monitor(machine, 'p2m audit tiny')
    assert shut_down(machine) == 0


@pytest.mark.parametrize('pair', PAIRS)
def test_a_shared_list(pair, emulator):
    """The guest's own view is proved with the rest; what runs there, or walks tables there, ends its VM alone."""
    conf = {'vm stays': guest('p2m_list', cmdline='stay'), 'vm jumps': guest('p2m_list', cmdline='jump'),
            'vm walks': guest('p2m_list', cmdline='table')}
    machine = emulator(conf, **PAIRS[pair])
    wait_for_log(machine, r'VM jumps: stopped: vCPU 0 jumped to rip 0x80000000, gpa 0x80000000, where no RAM is',
                 r'VM walks: stopped: vCPU 0 at rip 0x[0-9a-f]+ has a page table at gpa 0x80000000, where no RAM is')
    to_monitor(machine)
    while 'ok 44 ' not in console_of(machine, 'stays'):     # the log may break into the line as it is said
        pass
    assert audit(machine, 'stays') > 0
    for name in ('stays', 'jumps', 'walks'):
        judge_tap(console_of(machine, name), pair, 'p2m_list')
    run_in_monitor(machine, 'vm reset stays')
    machine.sendline('console stays')
    machine.expect(r'(?s)(1\.\.44\r.*ok 44 .*){2}')
    to_monitor(machine)
    audit(machine, 'stays')
    assert shut_down(machine) == 0


# SVM is shown by QEMU, VMX by Bochs; a debug build takes Bochs long.
@pytest.mark.parametrize('pair', [pytest.param(pair, marks=[pytest.mark.matrix] * (pair == 'svm-bochs')) for pair in PAIRS])
def test_tables_in_a_shared_list(pair, emulator, debug_build):
    """The CPU would note accessed and dirty in the list: whichever table lies there, its VM ends by a sentence, and what the
    list says is proved then (debug build). Its neighbour goes on."""
    words = ('root', 'pointers', 'directory', 'table', 'dirty')
    machine = emulator({'vm stays': guest('p2m_list', cmdline='stay'),
                        **{'vm ' + word: guest('p2m_tables', cmdline=word) for word in words}},
                       lintel=debug_build / 'lintel.elf', **PAIRS[pair])
    for word in words:
        wait_for_log(machine, r'VM %s: (stopped: vCPU 0 at rip 0x[0-9a-f]+ has a page table at gpa 0x80010[0-9a-f]{3}, where '
                     r'no RAM is|has powered itself off)' % word)    # the latter judged below
    to_monitor(machine)
    while 'ok 44 ' not in console_of(machine, 'stays'):     # the log may break into the line as it is said
        pass
    for word in words:
        text = console_of(machine, word)
        assert '# walks' in text and 'ok 1' not in text, text
    assert audit(machine, 'stays') > 0
    assert shut_down(machine) == 0


def hole_and_top(ranges):
    """Of a dump: what lies at 640 KiB, where RAM ends, and where RAM below 4 GiB ends if there is some above."""
    ram = [(start, end) for start, end, kind in ranges if kind in ('given', 'RAM not given')]
    below = max(end for start, end in ram if start < 1 << 32)
    return kind_at(ranges, 0xa0000), below, max(end for _, end in ram)


def test_sizes_around_the_hole(emulator):
    """Half a GiB; more than 2 GiB by one MiB; a hole below 4 GiB with memory above it."""
    sizes = {'half': 512, 'odd': 2049, 'high': 5000}
    machine = emulator({'vm ' + name: guest('memory_sizes', memory='%dM' % size, cmdline='stay')
                        for name, size in sizes.items()}, memory='8G', **PAIRS['svm-qemu'])
    machine.expect(r'VM high: started')
    to_monitor(machine)
    for name, size in sizes.items():
        while 'ok 6' not in console_of(machine, name):
            pass
        judge_tap(console_of(machine, name), 'svm-qemu', 'memory_sizes')
        bytes_above = max(0, size - 3072) << 20
        expected = ('hole', min(size, 3072) << 20, (1 << 32) + bytes_above if bytes_above else size << 20)
        assert hole_and_top(dump(machine, name)) == expected
        assert audit(machine, name) > 0
    assert shut_down(machine) == 0


def test_a_terabyte_of_which_little_is_there(emulator):
    """1023 GiB and the hole below 4 GiB end at 1 TiB, where this CPU's addresses end; 64 MiB of it are promised."""
    machine = emulator({'vm wide': guest('memory_sizes', memory='1023G', p2m='no', pages='4k', cmdline='stay',
                                         **{'balloon.max': '64M'})}, memory='1G', **PAIRS['svm-qemu'])
    machine.expect('ok 6')
    to_monitor(machine)
    judge_tap(console_of(machine, 'wide'), 'svm-qemu', 'memory_sizes')
    said = run_in_monitor(machine, 'p2m dump wide')
    assert hole_and_top(dump(machine, 'wide')) == ('hole', 3 << 30, 1 << 40)
    assert int(re.search(r'the list takes ([0-9]+) KiB', said).group(1)) <= 2 * 64, said
    audit(machine, 'wide')
    assert shut_down(machine) == 0


def test_a_shared_list_on_four_cpus(emulator):
    """Three vCPUs touch fresh memory, each on a CPU of its own, while a fourth looks at the list: twice at once."""
    names = ('one', 'two')
    machine = emulator({'vm ' + name: guest('p2m_list', cmdline='stay') for name in names}, cpus=4, **PAIRS['svm-qemu'])
    machine.expect('VM two: started')
    to_monitor(machine)
    for name in names:
        while 'ok 44 ' not in console_of(machine, name):
            pass
        judge_tap(console_of(machine, name), 'svm-qemu', 'p2m_list')
        assert audit(machine, name) > 0
    assert shut_down(machine) == 0

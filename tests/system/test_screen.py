# SPDX-License-Identifier: MIT
"""What a user with a screen and no serial line sees: read from screen dumps by comparing glyphs with the font."""
import re
import time

import pytest
from support import SCALE, read_screen, to_monitor

CONF = {'vm spin': {'kernel': 'spin_cli.elf', 'memory': '64M'}}
WANTED = [r'\[lintel\] lintel [0-9.]+, CPU .*, engine AMD SVM, memory [0-9]+M$', r'\[lintel\] loaded by GRUB ',
          r'-- console of VM spin; Ctrl-\] leads to the monitor --$', r'\[lintel\] VM spin: started with 64M',
          '# spinning$']


def screen_with(machine, path, patterns):
    """The lines of the screen once they have all that is wanted, in this order; it is drawn now and then."""
    give_up = time.monotonic() + 300 * SCALE    # the next drawing comes 256 times as late as the last one took
    while True:
        lines = read_screen(machine.screendump(path))
        if re.search('.*'.join('^' + one for one in patterns), '\n'.join(lines), re.M | re.S):
            return lines
        assert time.monotonic() < give_up, '\n'.join(lines)
        time.sleep(0.5)


@pytest.mark.parametrize('options', [{}, {'firmware': 'uefi'}, {'qemu_arg': ['-vga', 'cirrus']}],
                         ids=['bios', 'uefi', 'bios-cirrus'])
def test_the_screen_shows_what_the_serial_line_says(options, emulator, tmp_path):
    path = tmp_path / 'screen.ppm'
    machine = emulator(CONF, screendump=path, **options)
    machine.expect('spinning')
    screen_with(machine, path, WANTED)
    to_monitor(machine)
    machine.sendline('vm list')
    machine.expect('spin +running')
    lines = screen_with(machine, path, ['lintel> vm list$', r'NAME +STATE', r'spin +running', 'lintel>$'])
    assert not [line for line in lines if '?' in line], 'nothing but letters of the font:\n' + '\n'.join(lines)
    machine.sendline('help')
    machine.expect('shutdown  ')
    screen_with(machine, path, ['lintel> help$', '  shutdown  '])


def test_the_screen_of_a_machine_that_halts(emulator, tmp_path):
    path = tmp_path / 'screen.ppm'
    machine = emulator(CONF, screendump=path, cpu='qemu64')
    machine.expect(r'\[lintel\] halted: ')
    screen_with(machine, path, [r'\[lintel\] halted: SVM has no nested paging'])

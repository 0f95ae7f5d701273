# SPDX-License-Identifier: MIT
"""CD drives of the machine: a guest reads a whole medium, and sees what happens to it within two polls."""
import re
import zlib

import pytest
from support import run_in_monitor, shut_down, to_monitor
from tiny_guests import PAIRS, console_of, guest, judge_tap, on_each_pair, wait_for_log

BOOT_DRIVE = {'svm-qemu': 'ahci:0', 'vmx-bochs': 'ide:0', 'svm-bochs': 'ide:0'}


def medium_line(path):
    """What the guest says of a medium that it has read."""
    data = path.read_bytes()
    return 'medium of %d blocks, sum %x' % (len(data) // 2048, zlib.adler32(data))


@on_each_pair
def test_the_boot_cd_is_read_whole(pair, emulator, make_iso):
    """lintel's own ISO, whose end and checksum are known."""
    iso = make_iso({'vm cd': guest('machine_cd', cdrom=BOOT_DRIVE[pair]), 'vm last': guest('halt', cmdline='open')})
    machine = emulator(iso=iso, **PAIRS[pair])
    wait_for_log(machine, 'VM cd: has powered itself off')
    to_monitor(machine)
    text = console_of(machine, 'cd')
    judge_tap(text)
    assert medium_line(iso) in text
    assert shut_down(machine) == 0

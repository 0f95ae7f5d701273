# SPDX-License-Identifier: MIT
"""tools/emulate with a kernel of a few lines in lintel's place, one for each way in which a machine can end."""
import subprocess
import termios

import pexpect
import pytest
from support import TIMEOUT

SOURCE = """
bits 32
section .text
align 8
header: dd 0xe85250d6, 0, end - header, -(0xe85250d6 + end - header)
        dw 0, 0
        dd 8
end:
global start
start:  mov dx, 0x3fb                   ; eight bits, no parity
        mov al, 3
        out dx, al
        mov esi, text
.next:  lodsb
        test al, al
        jz .said
        mov bl, al
        call say
        jmp .next
.said:  mov dx, 0x3fd                   ; what still waits in the transmitter must get out
        in al, dx
        test al, 0x40
        jz .said
        %(then)s
        cli
        hlt
say:    mov dx, 0x3fd
        in al, dx
        test al, 0x20
        jz say
        mov al, bl
        mov dx, 0x3f8
        out dx, al
        ret
no_table: dw 0
        dd 0
text:   db %(text)s, 13, 10, 0
"""
POWER_OFF = 'mov ax, 0x2000\nmov dx, 0x604\nout dx, ax\nmov dx, 0xb004\nout dx, ax'    # QEMU's q35, Bochs
RESET = 'mov dx, 0xcf9\nmov al, 6\nout dx, al'
TRIPLE_FAULT = 'lidt [no_table]\nint3'
ECHO_ONE = """
.wait:  mov dx, 0x3fd
        in al, dx
        test al, 1
        jz .wait
        mov dx, 0x3f8
        in al, dx
        lea ebx, [eax + 1]
        call say
.out:   mov dx, 0x3fd
        in al, dx
        test al, 0x40
        jz .out
"""


@pytest.fixture
def kernel(tmp_path):
    """kernel(text, then) -> an ELF that says the text on the serial line and then executes the instructions."""
    def make(text, then=''):
        source, program, elf = tmp_path / 'k.asm', tmp_path / 'k.o', tmp_path / 'k.elf'
        source.write_text(SOURCE % {'text': "'%s'" % text, 'then': then})
        subprocess.run(['nasm', '-f', 'elf32', '-o', program, source], check=True)
        subprocess.run(['ld', '-m', 'elf_i386', '-Ttext', '0x400000', '-e', 'start', '-o', elf, program], check=True)
        return elf

    return make


CONF = {'vm a': {'kernel': 'busybox'}}
QEMU, BOCHS = {}, {'engine': 'vmx', 'memory': '256M'}


@pytest.mark.parametrize('options', [QEMU, {'firmware': 'uefi'}, BOCHS], ids=['qemu', 'uefi', 'bochs'])
@pytest.mark.parametrize('text, then, status', [
    ('[lintel] power off', POWER_OFF, 0),
    ('[lintel] still here', TRIPLE_FAULT, 1),
], ids=['power-off', 'triple-fault'])
def test_the_end_of_a_machine(text, then, status, options, emulator, kernel):
    machine = emulator(CONF, lintel=kernel(text, then), **options)
    machine.expect(text.replace('[', r'\['))
    assert machine.wait() == status


@pytest.mark.parametrize('text, then, status', [
    ('[lintel] reset', RESET, 0),
    ('nothing of ours', POWER_OFF, 1),
    ('[lintel] panic: broken', '', 1),
], ids=['reset', 'no-last-word', 'panic'])
def test_the_end_of_qemu(text, then, status, emulator, kernel):
    assert emulator(CONF, lintel=kernel(text, then)).wait(60) == status


def test_a_machine_that_hangs_runs_into_the_timeout(emulator, kernel):
    machine = emulator(CONF, lintel=kernel('[lintel] hanging'), timeout=4)
    machine.expect('hanging')
    assert machine.wait(60) == 124


@pytest.mark.parametrize('options', [QEMU, BOCHS], ids=['qemu', 'bochs'])
def test_keys_reach_the_machine_even_ctrl_c(options, emulator, kernel):
    machine = emulator(CONF, lintel=kernel('[lintel] type', ECHO_ONE + POWER_OFF), **options)
    machine.expect(r'\[lintel\] type\r\n')
    machine.send('\x03')
    machine.expect('\x04')


def test_ctrl_backslash_three_times_ends_it_and_gives_the_terminal_back(emulator, kernel):
    machine = emulator(CONF, lintel=kernel('[lintel] here'), timeout=TIMEOUT)
    before = termios.tcgetattr(machine.child.child_fd)
    machine.expect('here')
    assert not termios.tcgetattr(machine.child.child_fd)[3] & termios.ISIG
    machine.send('\x1c\x1c\x1c')
    machine.expect(pexpect.EOF, 30)
    assert termios.tcgetattr(machine.child.child_fd)[3] == before[3]

# SPDX-License-Identifier: MIT
"""tools/emulate with a kernel of a few lines in lintel's place, one for each way in which a machine can end."""
import pathlib
import subprocess
import termios

import pexpect
import pytest
from support import ROOT, TIMEOUT

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


@pytest.mark.parametrize('options', [QEMU, BOCHS], ids=['qemu', 'bochs'])
@pytest.mark.parametrize('text, then, status', [
    ('[lintel] reset', RESET, 0),
    ('nothing of ours', POWER_OFF, 1),
    ('[lintel] panic: broken', '', 1),
    ('[lintel] halted: no CPU for it', '', 1),
], ids=['reset', 'no-last-word', 'panic', 'halted'])
def test_last_words(text, then, status, options, emulator, kernel):
    assert emulator(CONF, lintel=kernel(text, then), **options).wait(60) == status


@pytest.mark.parametrize('options', [QEMU, BOCHS], ids=['qemu', 'bochs'])
def test_a_machine_that_hangs_runs_into_the_timeout(options, emulator, kernel):
    # A busy machine is slow to come as far as that.
    for timeout in (8, 25, 100):
        machine = emulator(CONF, lintel=kernel('[lintel] hanging'), **{**options, 'timeout': timeout})
        assert machine.wait(timeout + 35) == 124
        if 'hanging' in machine.output:
            break
    assert 'hanging' in machine.output


@pytest.mark.parametrize('options', [QEMU, BOCHS], ids=['qemu', 'bochs'])
def test_keys_reach_the_machine_even_ctrl_c(options, emulator, kernel):
    machine = emulator(CONF, lintel=kernel('[lintel] type', ECHO_ONE + POWER_OFF), **options)
    machine.expect(r'\[lintel\] type\r\n')
    machine.send('\x03')
    machine.expect('\x04')


def test_ctrl_backslash_three_times_ends_it_and_gives_the_terminal_back(emulator, kernel):
    machine = emulator(CONF, lintel=kernel('[lintel] here'), timeout=TIMEOUT)
    machine.expect('here')
    assert not termios.tcgetattr(machine.child.child_fd)[3] & termios.ISIG
    machine.send('\x1c\x1c\x1c')
    machine.expect(pexpect.EOF, 30)
    assert termios.tcgetattr(machine.child.child_fd)[3] & termios.ISIG


def processes_of(pid):
    """A process and all that it has started."""
    children = pathlib.Path('/proc/%d/task/%d/children' % (pid, pid)).read_text().split()
    return [pid] + [one for child in children for one in processes_of(int(child))]


def sockets_of(pid):
    """The inodes of a process's sockets."""
    links = [str(link.readlink()) for link in pathlib.Path('/proc/%d/fd' % pid).iterdir()]
    return {link[len('socket:['):-1] for link in links if link.startswith('socket:[')}


def network_sockets():
    """The inodes of all sockets that have an internet address, listening or not."""
    tables = [pathlib.Path('/proc/net') / name for name in ('tcp', 'tcp6', 'udp', 'udp6')]
    return {line.split()[9] for table in tables if table.exists() for line in table.read_text().splitlines()[1:]}


@pytest.mark.parametrize('options', [QEMU, BOCHS], ids=['qemu', 'bochs'])
def test_no_network_port_is_open(options, emulator, kernel):
    machine = emulator(CONF, lintel=kernel('[lintel] type', ECHO_ONE + POWER_OFF), **options)
    machine.expect(r'\[lintel\] type\r\n')
    processes = processes_of(machine.child.pid)
    assert len(processes) >= 2, 'the tool and its emulator'
    assert not network_sockets() & {inode for pid in processes for inode in sockets_of(pid)}


@pytest.mark.parametrize('options, banner', [
    ({'engine': 'vmx'}, r'Core\(TM\) i7-4770 CPU [^,]*, engine Intel VMX, memory 255M'),
    ({'engine': 'vmx', 'cpu': 'corei7_skylake_x'}, 'i7-7800X CPU [^,]*, engine Intel VMX, memory 255M'),
    ({'engine': 'svm', 'emulator': 'bochs'}, 'Ryzen [^,]*, engine AMD SVM, memory 255M'),
    ({'engine': 'svm', 'emulator': 'bochs', 'cpu': 'zambezi'}, 'FX[^,]*, engine AMD SVM, memory 255M'),
    ({'engine': 'svm', 'cpu': 'EPYC-Rome'}, 'EPYC-Rome [^,]*, engine AMD SVM, memory 255M'),
], ids=['vmx', 'vmx-skylake', 'svm-bochs', 'svm-bochs-zambezi', 'svm-rome'])
def test_engine_model_processors_and_memory(options, banner, emulator):
    machine = emulator({'vm a': {'kernel': 'hypercall.elf', 'memory': '64M'}}, memory='256M', cpus=2, **options)
    machine.expect(r'\[lintel\] lintel [^\r\n]*' + banner)
    machine.expect('ACPI: 2 of 2 CPUs usable')
    assert machine.wait() == 0


@pytest.mark.parametrize('arguments, sentence', [
    (['--engine=vmx', '--emulator=qemu'], 'QEMU cannot emulate VMX'),
    (['--engine=vmx', '--firmware=uefi'], 'Bochs boots by BIOS only'),
], ids=['vmx-in-qemu', 'uefi-in-bochs'])
def test_what_cannot_be_emulated_is_said(arguments, sentence, make_iso, kernel):
    done = subprocess.run([ROOT / 'tools/emulate', *arguments, make_iso(CONF, lintel=kernel('nothing'))],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and sentence in done.stderr, done.stderr

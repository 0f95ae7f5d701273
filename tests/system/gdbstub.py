# SPDX-License-Identifier: MIT
"""lintel seen from outside: a client of QEMU's gdb stub (GDB remote serial protocol) that knows lintel's symbols.

Nothing in lintel helps a test to break it; here breakpoints, registers and memory do. The machine stands still from the
moment the client connects until `go`, and whenever one of the methods has returned.
"""
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import pexpect
from support import SCALE

REGISTERS = ('rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags cs ss ds es fs gs '
             'fs_base gs_base k_gs_base cr0 cr2 cr3 cr4 cr8 efer').split()
# What an injection may disturb, and what brings the interrupted code back.
CODE_STATE = REGISTERS[:18]
STACK_BYTES = 256
IMAGE_BASE = 0xffffffff80000000
DIRECT_MAP_BASE = 0xffff800000000000
PTE_PRESENT, PTE_WRITE, PTE_LARGE, PTE_NX = 1, 2, 1 << 7, 1 << 63
PTE_ADDRESS = 0x000ffffffffff000
INTERRUPT = b'\x03'
PACKET_BYTES = 1024    # QEMU's packets hold twice as many characters, and a little more
PATIENCE = 60 * SCALE


def symbols_of(debug):
    """Name -> address of an unstripped image."""
    lines = subprocess.run(['nm', debug], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: int(address, 16) for address, _, name in (line.split() for line in lines)}


class Stub:
    """One stopped machine. Start the emulator with `Stub.arguments`, then `connect`."""

    def __init__(self, debug):
        self.symbols = symbols_of(debug)
        self.folder = tempfile.mkdtemp(prefix='gdb-')    # a short name: a socket's has 107 characters at most
        self.path = self.folder + '/s'
        self.arguments = ['-chardev', 'socket,path=%s,server=on,wait=off,id=g' % self.path, '-gdb', 'chardev:g']
        self.socket, self.buffer = None, b''

    def connect(self, machine):
        """Stop the machine, wherever it is."""
        self.machine = machine
        give_up = time.monotonic() + PATIENCE
        while not self.socket:
            attempt = socket.socket(socket.AF_UNIX)
            try:
                attempt.connect(self.path)
                self.socket = attempt
            except OSError:
                attempt.close()
                assert time.monotonic() < give_up, 'the emulator offers no gdb stub'
                time.sleep(0.02)
        # Only who has asked for the description of the registers may name single ones. The machine may have been
        # stopped by our coming, and says so, or not, if it did not run yet.
        self.socket.sendall(INTERRUPT)
        self.send('qXfer:features:read:target.xml:0,ffb')
        while not self.packet().startswith('l'):
            pass

    def close(self):
        if self.socket:
            self.socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- packets

    def send(self, text):
        data = text.encode('latin-1')
        self.socket.sendall(b'$%s#%02x' % (data, sum(data) & 0xff))

    def packet(self, patience=PATIENCE):
        """The next packet, without its frame; None when the machine is gone. The serial line is read meanwhile."""
        give_up = time.monotonic() + patience
        while True:
            start = self.buffer.find(b'$')
            end = self.buffer.find(b'#', start)
            if 0 <= start < end and len(self.buffer) >= end + 3:
                packet, self.buffer = self.buffer[start + 1:end], self.buffer[end + 3:]
                try:
                    self.socket.sendall(b'+')
                except BrokenPipeError:
                    pass    # its last word
                return packet.decode('latin-1')
            assert time.monotonic() < give_up, 'no word from the gdb stub; the serial line ended:\n%s' \
                % self.machine.output[-3000:]
            # A line that nobody reads would hold the machine.
            self.machine.child.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=0)
            if select.select([self.socket], [], [], 0.02)[0]:
                try:
                    data = self.socket.recv(65536)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self.buffer += data

    def ask(self, text):
        self.send(text)
        return self.packet()

    def order(self, text):
        answer = self.ask(text)
        assert answer == 'OK', '%s: %s' % (text, answer)

    def monitor(self, command):
        """A command of QEMU's own monitor; returns what it says."""
        self.send('qRcmd,' + command.encode().hex())
        said = ''
        while True:
            packet = self.packet()
            if not packet.startswith('O') or packet == 'OK':
                assert packet == 'OK', '%s: %s' % (command, packet)
                return said
            said += bytes.fromhex(packet[1:]).decode()

    # ---- registers and memory

    def get(self, register):
        return int.from_bytes(bytes.fromhex(self.ask('p%x' % REGISTERS.index(register))), 'little')

    def set(self, **registers):
        for name, value in registers.items():
            size = 4 if 17 <= REGISTERS.index(name) <= 23 else 8
            self.order('P%x=%s' % (REGISTERS.index(name), value.to_bytes(size, 'little').hex()))

    def save(self):
        """The interrupted code's registers and its part of the stack, which a function's tail call may use again."""
        return {name: self.get(name) for name in CODE_STATE}, self.read(self.get('rsp'), STACK_BYTES)

    def restore(self, state):
        registers, stack = state
        self.set(**registers)
        self.write(registers['rsp'], stack)

    def read(self, address, size):
        data = b''
        while len(data) < size:
            part = min(size - len(data), PACKET_BYTES)
            answer = self.ask('m%x,%x' % (address + len(data), part))
            assert len(answer) == 2 * part, 'reading %x: %s' % (address + len(data), answer)
            data += bytes.fromhex(answer)
        return data

    def read_word(self, address):
        return struct.unpack('<Q', self.read(address, 8))[0]

    def read_physical(self, hpa, size):
        """Also while the guest's page tables are in use."""
        self.order('Qqemu.PhyMemMode:1')
        data = self.read(hpa, size)
        self.order('Qqemu.PhyMemMode:0')
        return data

    def write(self, address, data):
        """By the page tables, but whatever they allow."""
        self.order('M%x,%x:%s' % (address, len(data), data.hex()))

    def entry_of(self, address):
        """Where in the direct map the leaf of lintel's live page tables lies that maps address, and the leaf."""
        table = self.get('cr3') & PTE_ADDRESS
        for shift in (39, 30, 21, 12):
            at = DIRECT_MAP_BASE + table + (address >> shift & 511) * 8
            entry = self.read_word(at)
            assert entry & PTE_PRESENT, '%x is not mapped' % address
            if shift == 12 or entry & PTE_LARGE:
                return at, entry
            table = entry & PTE_ADDRESS

    # ---- running

    def go(self):
        self.send('c')

    def wait(self):
        """Until the machine stops (True) or is gone (False)."""
        packet = self.packet()
        assert packet is None or packet[0] in 'TSWX', packet
        return packet is not None and packet[0] in 'TS'

    def stop(self):
        """Stop the running machine wherever it is."""
        self.socket.sendall(INTERRUPT)
        assert self.wait()

    def run_to(self, *names):
        """Go on until one of these functions is entered; returns its name."""
        places = {self.symbols[name]: name for name in names}
        for address in places:
            self.order('Z1,%x,1' % address)
        self.go()
        assert self.wait(), 'the machine is gone on its way to %s:\n%s' % (names, self.machine.output[-3000:])
        for address in places:
            self.order('z1,%x,1' % address)
        return places[self.get('rip')]

    def stop_when(self, condition, what):
        """Let the machine run and stop it until it stops where condition(RIP) holds."""
        give_up = time.monotonic() + PATIENCE
        while True:
            rip = self.get('rip')
            if condition(rip):
                return
            assert time.monotonic() < give_up, 'the machine is never found %s' % what
            self.go()
            time.sleep(0.01)
            self.stop()

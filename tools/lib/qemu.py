# SPDX-License-Identifier: MIT
"""QEMU without acceleration, as tools/emulate runs it: SVM on the EPYC model, serial line over a socket pair."""
import json
import os
import socket
import subprocess
import sys

from child import Child

OVMF_CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd'
OVMF_VARS = '/usr/share/OVMF/OVMF_VARS_4M.fd'


def command_line(options):
    command = ['qemu-system-x86_64', '-nodefaults', '-vga', 'std', '-M', 'q35', '-cpu', options.cpu or 'EPYC',
               '-smp', str(options.cpus), '-m', options.memory, '-display', 'none', '-net', 'none', '-no-reboot',
               '-drive', 'file=%s,media=cdrom,readonly=on,format=raw' % options.iso.replace(',', ',,')]
    if options.disk:
        command += ['-drive', 'file=%s,media=disk,format=raw,index=1' % options.disk.replace(',', ',,')]
    # One thread for all CPUs: with several, FXRSTOR, XRSTOR or FNINIT on any CPU also writes to a flag of the first one's
    # (cpu_clear_ignne of QEMU 7.2), unlocked, and now and then brings back its "nested paging is on" after a #VMEXIT.
    command += ['-accel', 'tcg,thread=' + options.threads]
    if options.icount:
        command += ['-icount', 'shift=0,sleep=off']
    if options.firmware == 'uefi':
        command += ['-drive', 'if=pflash,format=raw,unit=0,readonly=on,file=' + OVMF_CODE,
                    '-drive', 'if=pflash,format=raw,unit=1,snapshot=on,file=' + OVMF_VARS]
    return command + options.qemu_arg


def at_socket(name, end):
    """QEMU's words for a character device at a socket that it inherits."""
    return ['-chardev', 'socket,id=%s,fd=%d' % (name, end.fileno())]


class Machine(Child):
    def __init__(self, options, folder):
        # The line is no standard output: QEMU prints words of its own there.
        self.socket, line = socket.socketpair()
        command = command_line(options) + at_socket('line', line) + ['-serial', 'chardev:line', '-monitor', 'none']
        inherited = [line]
        if options.screendump:
            self.control, control = socket.socketpair()
            command += at_socket('qmp', control) + ['-mon', 'chardev=qmp,mode=control']
            inherited.append(control)
        super().__init__(command, folder, stdin=subprocess.DEVNULL, pass_fds=[end.fileno() for end in inherited])
        for end in inherited:
            end.close()
        if options.screendump:
            self.talk = self.control.makefile('rw')
            self.talk.readline()    # the greeting
            self.ask('qmp_capabilities')
        self.socket.setblocking(False)
        self.serial = self.socket.fileno()

    def ask(self, verb, **arguments):
        self.talk.write(json.dumps({'execute': verb, 'arguments': arguments}) + '\n')
        self.talk.flush()
        while True:
            line = self.talk.readline()
            answer = json.loads(line) if line else {'error': {'desc': 'QEMU is gone'}}
            if 'error' in answer:
                print('emulate: QEMU says: %s' % answer['error']['desc'], file=sys.stderr)
            if 'return' in answer or 'error' in answer:
                return

    def screendump(self, path):
        if not path:
            return
        # Under its final name the file is always whole.
        partial = os.path.abspath(path) + '.part'
        self.ask('screendump', filename=partial)
        if os.path.exists(partial):
            os.replace(partial, path)

    @staticmethod
    def is_noise(line):
        return "TCG doesn't support requested feature" in line

# SPDX-License-Identifier: MIT
"""An emulator as a child process with a serial line; the base of qemu.py and bochs.py."""
import os
import signal
import subprocess
import sys
import time


class Child:
    """The process is always ended by its own id, whatever happens to the tool."""
    ends_at_reset = True

    def __init__(self, command, folder, **popen):
        self.name = command[0]
        self.errors = os.path.join(folder, 'stderr')
        with open(self.errors, 'wb') as errors:
            popen.setdefault('stdout', errors)
            try:
                # Keys like Ctrl-C must not reach the emulator as signals: it gets a session of its own.
                self.process = subprocess.Popen(command, stderr=errors, start_new_session=True, **popen)
            except FileNotFoundError:
                sys.exit('emulate: %s is not installed; `make packages` installs it' % self.name)

    def read(self):
        try:
            return os.read(self.serial, 65536)
        except (BlockingIOError, OSError):
            return b''

    def write(self, data):
        try:
            return os.write(self.serial, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)    # nobody is left to read it

    def ended(self):
        return self.process.poll() is not None

    def end(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ended():
                break
            self.process.send_signal(number)
            give_up = time.monotonic() + 3
            while not self.ended() and time.monotonic() < give_up:
                time.sleep(0.02)
        self.process.wait()

    def explain(self):
        """The machine died without a word of lintel's: say how, and what the emulator complained about."""
        with open(self.errors, errors='replace') as file:
            lines = [line for line in file.read().splitlines() if not self.is_noise(line)]
        print('\nemulate: %s ended (status %s) without a last word of lintel' % (self.name, self.process.returncode),
              file=sys.stderr)
        for line in lines[-20:]:
            print('emulate: ' + line, file=sys.stderr)

    @staticmethod
    def is_noise(_):
        return False

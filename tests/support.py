# SPDX-License-Identifier: MIT
"""What all tests share: where the build is, how patient to be, a machine at the end of a terminal, Debian guests."""
import io
import os
import pathlib
import re
import signal
import struct
import subprocess
import time

import pexpect
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD_WORD = os.environ.get('LINTEL_BUILD', 'build')
BUILD = ROOT / BUILD_WORD
# In the words of `make test`: they are among the flags, and others would build all anew, under the feet of other tests.
MAKE_RUN = ['env', '-C', str(ROOT), '-u', 'MAKEFLAGS', '-u', 'MFLAGS', '-u', 'MAKELEVEL', 'make', 'run', 'BUILD=' + BUILD_WORD]
GUEST = ROOT / 'build/guest'
# A busy machine is given more time: LINTEL_TIMEOUT_SCALE=3 triples every time-out. Workers (pytest-xdist) keep it busy.
SCALE = float(os.environ.get('LINTEL_TIMEOUT_SCALE', '2' if 'PYTEST_XDIST_WORKER' in os.environ else '1'))
TIMEOUT = 600 * SCALE
SHOWN_ON_FAILURE = 6000


def conf_text(conf):
    """A configuration from text, or from {'vm a': {'kernel': 'x', ...}, ...}."""
    if isinstance(conf, (str, bytes)):
        return conf
    # Guests that know no power button would be waited for at each `shutdown`.
    conf = {**conf, 'hypervisor': {'shutdown.grace': '0', **conf.get('hypervisor', {})}}
    return ''.join('[%s]\n%s' % (section, ''.join('%s = %s\n' % pair for pair in keys.items()))
                   for section, keys in conf.items())


def find_file(name):
    """What the build offers under this name: Debian's kernel and initramfs, the tiny guests."""
    if len(name) > 127:    # no name of a file
        return None
    places = [GUEST / name, BUILD / 'guests' / name, BUILD / 'bench' / name]
    return next((place for place in places if place.is_file()), None)


def words_of(text):
    """The words of the configuration, among them the names of files."""
    data = text if isinstance(text, bytes) else text.encode()
    return {word.strip(b'"').decode('latin-1') for word in data.replace(b'=', b' ').split()}


def pack_iso(folder, conf, files=None, cmdline='', unchecked=False, lintel=None):
    """Make folder/lintel.iso of a configuration and what it names; files={name: path or bytes} adds to the build's."""
    text = conf_text(conf)
    (folder / 'lintel.conf').write_bytes(text if isinstance(text, bytes) else text.encode())
    wanted = {name: find_file(name) for name in words_of(text) if '/' not in name and find_file(name)}
    for name, source in {**wanted, **(files or {})}.items():
        if isinstance(source, bytes):
            (folder / name).write_bytes(source)
        else:
            (folder / name).symlink_to(source)
    iso = folder / 'lintel.iso'
    command = [ROOT / 'tools/mkiso', folder / 'lintel.conf', '-o', iso, '--lintel', lintel or BUILD / 'lintel.elf',
               '--cmdline', cmdline] + (['--unchecked'] if unchecked else [])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return iso


def emulate_command(iso, **options):
    """tools/emulate with its options, written with _ for -. A list repeats the option, True gives it without a value."""
    command = [ROOT / 'tools/emulate']
    for name, value in {'timeout': TIMEOUT, **options}.items():
        option = '--' + name.replace('_', '-')
        for one in value if isinstance(value, list) else [value]:
            command += [option] if one is True else ['%s=%s' % (option, one)]
    return command + [iso]


def mbr_image(partitions, content=b''):
    """A disk with an MBR of these (number, first sector, sectors); content: of the last one."""
    entries = [bytes(16)] * 4
    for number, first, sectors in partitions:
        entries[number - 1] = struct.pack('<B3sB3sII', 0, b'', 0x83, b'', first, sectors)
    first, sectors = partitions[-1][1:]
    head = bytes(446) + b''.join(entries) + b'\x55\xaa'
    return head.ljust(first * 512, b'\0') + content.ljust(sectors * 512, b'\0')


class Machine:
    """One emulator with lintel in it. What it printed so far is in `output`."""

    def __init__(self, command):
        self.transcript = io.StringIO()
        # The tool itself makes the terminal raw; until then nothing may be echoed back.
        self.child = pexpect.spawn(str(command[0]), [str(word) for word in command[1:]], echo=False, encoding='utf-8',
                                   codec_errors='replace', maxread=65536, timeout=TIMEOUT, dimensions=(50, 200))
        self.child.logfile_read = self.transcript

    @property
    def output(self):
        return self.transcript.getvalue()

    def expect(self, pattern, timeout=None):
        """Wait for a regular expression (or the first of a list); returns the match object."""
        patterns = pattern if isinstance(pattern, list) else [pattern]
        bad_ends = [end for end in (pexpect.EOF, pexpect.TIMEOUT) if end not in patterns]
        limit = TIMEOUT if timeout is None else timeout * SCALE
        index = self.child.expect(patterns + bad_ends, timeout=limit)
        if index >= len(patterns):
            kind = 'the machine ended' if bad_ends[index - len(patterns)] is pexpect.EOF else 'the time was up'
            pytest.fail('%s while waiting for %r; the serial line ended:\n%s'
                        % (kind, pattern, self.output[-SHOWN_ON_FAILURE:]), pytrace=False)
        return self.child.match

    def send(self, text):
        self.child.send(text)

    def sendline(self, text=''):
        """A terminal's Enter key is a carriage return. pexpect's pause before it is welcome: a shell that has just echoed
        one line, or printed its prompt, may still have the terminal in the other mode."""
        self.child.send(text + '\r')

    def wait(self, timeout=None):
        """Wait until the machine is gone; returns the exit status of tools/emulate."""
        self.expect(pexpect.EOF, timeout)
        self.child.close()
        return self.child.exitstatus

    def screendump(self, path):
        """The screen as it is now, as a PPM file; the machine must have been started with screendump=path."""
        path = pathlib.Path(path)
        path.unlink(missing_ok=True)
        os.kill(self.child.pid, signal.SIGUSR1)
        give_up = time.monotonic() + 30 * SCALE
        while not path.exists():
            assert time.monotonic() < give_up, 'the emulator wrote no screen to %s' % path
            time.sleep(0.1)
        return path.read_bytes()

    def end(self):
        """Always leaves no process behind: the tool ends its emulator when it is told to terminate."""
        if self.child.closed:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.child.isalive():
                break
            os.kill(self.child.pid, number)
            give_up = time.monotonic() + 10
            while self.child.isalive() and time.monotonic() < give_up:
                # Nobody who waits for us to read may be left hanging.
                try:
                    self.child.read_nonblocking(65536, 0.1)
                except (pexpect.TIMEOUT, pexpect.EOF):
                    time.sleep(0.05)
        self.child.close(force=True)


# ---------------------------------------------------------------- Debian guests (tests/initramfs/init says these words)

INIT_REACHED = 'lintel guest: init reached'
PROMPT = 'guest# '
# Kernel parameters for slow emulators: no self-tests of ciphers, no calibrations.
QUICK = '"console=ttyS0,115200 loglevel=5 cryptomgr.notests tsc=reliable no_timer_check mitigations=off"'
MONITOR_KEY = '\x1d'


def debian_keys(**keys):
    """The keys of a Debian machine; more or other ones by keyword."""
    return {'kernel': 'vmlinux', 'initrd': 'initrd.img', 'cmdline': 'console=ttyS0', 'memory': '512M', **keys}


def run_in_guest(machine, command, timeout=60):
    """Type a command at the guest's prompt; returns what it printed."""
    machine.sendline(command)
    machine.expect(r'\r\n', timeout)    # the echo of what was typed
    machine.expect(PROMPT, timeout)
    return machine.child.before.replace('\r', '')


def fill(path, mib, source='zero'):
    """A command that writes so much to a file of the guest's. (busybox's head would copy it byte by byte.)"""
    return 'dd if=/dev/%s of=%s bs=1M count=%d 2>/dev/null' % (source, path, mib)


# ---------------------------------------------------------------- lintel's monitor

MONITOR_PROMPT = 'lintel> '
# What these do stands in the log alone.
SILENT = re.compile(r'(vm|vcpu) (start|stop|reset|set)\b|log\b|$')


def to_monitor(machine):
    """Press the key that leads from a guest's console to the monitor."""
    machine.send(MONITOR_KEY)
    machine.expect(MONITOR_PROMPT)


def run_in_monitor(machine, command, timeout=60):
    """Type a command at the monitor's prompt; returns what was printed until the next prompt.

    The log may break in while it is typed; the prompt is shown again then, with the text: that is no answer yet.
    """
    machine.sendline(command)
    machine.expect(re.escape(command[:40]) + '[^\r\n]*\r\n', timeout)    # the echo of what was typed
    while True:
        machine.expect(MONITOR_PROMPT, timeout)
        said = machine.child.before.replace('\r', '')
        if not said or SILENT.match(command) or not all(line.startswith('[lintel]') for line in said.splitlines()):
            return said
        machine.sendline()
        machine.expect('\r\n', timeout)
        if not machine.child.before:
            machine.expect(MONITOR_PROMPT, timeout)
            return said


def shut_down(machine):
    """End the machine at the monitor's prompt; returns the exit status of tools/emulate."""
    machine.sendline('shutdown')
    return machine.wait()


# ---------------------------------------------------------------- the screen

def read_font():
    """Glyph (16 bytes) -> character, of the font that the build took."""
    rows = re.findall(r'^\t\{(.*)\},$', (BUILD / 'font.c').read_text(), re.M)
    glyphs = {}
    for code, row in enumerate(rows):
        glyph = bytes(int(word, 16) for word in row.split(', '))
        if 0x20 <= code < 0x7f:
            glyphs[glyph] = chr(code)
    return glyphs


def read_screen(ppm):
    """The text on a screen dump: a list of lines, `?` for shapes that are no letters of the console font."""
    head = re.match(rb'P6\s+(\d+)\s+(\d+)\s+255\s', ppm)
    width, height = int(head.group(1)), int(head.group(2))
    pixels = ppm[head.end():]
    glyphs, lines = read_font(), []
    for top in range(0, height - 15, 16):
        line = ''
        for left in range(0, width - 7, 8):
            rows = [pixels[((top + y) * width + left) * 3:((top + y) * width + left + 8) * 3] for y in range(16)]
            ground = rows[0][:3]
            line += glyphs.get(bytes(sum(0x80 >> x for x in range(8) if row[3 * x:3 * x + 3] != ground)
                                     for row in rows), '?')
        lines.append(line.rstrip())
    return lines

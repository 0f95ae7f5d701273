# SPDX-License-Identifier: MIT
"""lintel.conf as tools/mkiso reads it: the same language and keys as hv/operator/config.c.

KEYS is the one table of keys on this side; a test compares it with hv/operator/config_keys.h.
"""
import re
from typing import NamedTuple

NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,30}$')
FILE = re.compile(r'[A-Za-z0-9._/+@:~-]{1,127}$')
SIZE = re.compile(r'([0-9]{1,12})([KMGT]?)$')
SIZE_UNITS = {'': 0, 'K': 10, 'M': 20, 'G': 30, 'T': 40}
CMDLINE_MAX = 2047
VM_MAX = 64


class Key(NamedTuple):
    section: str
    name: str
    type: str       # file, text, size, number, yes_no or a list of words with | between them
    default: str
    right: str      # what would be right, as the error says it


KEYS = [
    Key('hypervisor', 'console', 'com1|com2|com3|com4', 'com1', 'com1, com2, com3 or com4'),
    Key('hypervisor', 'log', 'error|warning|info|debug', 'info', 'error, warning, info or debug'),
    Key('vm', 'kernel', 'file', '', 'the name of a bzImage or a PVH ELF file'),
    Key('vm', 'kernel.unpack', 'yes_no', 'no', 'yes or no'),
    Key('vm', 'initrd', 'file', '', 'the name of an initramfs'),
    Key('vm', 'cmdline', 'text', 'console=ttyS0', 'at most 2047 characters'),
    Key('vm', 'memory', 'size', '256M', 'a size such as 512M or 2G, a multiple of 4K'),
    Key('vm', 'vcpus', 'number', '1', 'a number from 1 to 32'),
    Key('vm', 'personality', 'kvm|none', 'kvm', 'kvm or none'),
    Key('vm', 'prefault', 'yes_no', 'no', 'yes or no'),
]


class Reference(NamedTuple):
    """One file that a VM names."""
    key: str
    name: str
    unpack: bool
    where: str

    def error(self, sentence):
        return '%s: %s' % (self.where, sentence)


class Parsed(NamedTuple):
    errors: list
    files: list


def parse_size(value):
    found = SIZE.match(value)
    return int(found.group(1)) << SIZE_UNITS[found.group(2)] if found else None


def is_right(key, value):
    if key.type == 'file':
        return bool(FILE.match(value))
    if key.type == 'text':
        return len(value) <= CMDLINE_MAX
    if key.type == 'size':
        size = parse_size(value)
        return size is not None and size > 0 and size % 4096 == 0
    if key.type == 'number':
        return value.isdigit() and 1 <= int(value) <= 32
    if key.type == 'yes_no':
        return value in ('yes', 'no')
    return value in key.type.split('|')


class Parser:
    def __init__(self, name):
        self.name = name
        self.errors = []
        self.sections = []      # (kind, VM name, line, {key: (value, line)})
        self.number = 0

    def error(self, sentence, number=None):
        self.errors.append('%s:%d: %s' % (self.name, number or self.number, sentence))

    def section(self, line):
        words = line[1:-1].split() if line.endswith(']') else []
        if words == ['hypervisor']:
            self.begin('hypervisor', '')
        elif len(words) == 2 and words[0] == 'vm' and NAME.match(words[1]):
            if any(section[1] == words[1] for section in self.sections):
                self.error('there is already a VM called %s; give this one another name' % words[1])
            self.begin('vm', words[1])
        else:
            self.error('%s opens no section; [hypervisor] and [vm NAME] do' % line)
            self.begin('', '')

    def begin(self, kind, vm):
        self.sections.append((kind, vm, self.number, {}))

    def assign(self, line):
        name, equals, value = (part.strip() for part in line.partition('='))
        if not equals:
            return self.error('"%s" is neither a section nor KEY = VALUE' % line)
        if not self.sections:
            return self.error('%s stands before the first section; [hypervisor] or [vm NAME] must come first' % name)
        kind, _, _, values = self.sections[-1]
        if not kind:
            return None     # the section's own mistake has been told
        key = next((key for key in KEYS if (key.section, key.name) == (kind, name)), None)
        if not key:
            known = ', '.join(key.name for key in KEYS if key.section == kind)
            return self.error('[%s] has no key %s; it has %s' % (kind, name, known))
        if name in values:
            return self.error('%s was already given in line %d' % (name, values[name][1]))
        if not is_right(key, value):
            return self.error('%s = %s is not right; %s is' % (name, value, key.right))
        values[name] = (value, self.number)
        return None

    def line(self, text):
        # A comment begins with # at the start of a line or behind white space.
        text = re.sub(r'(^|\s)#.*', '', text).strip()
        if text.startswith('['):
            self.section(text)
        elif text:
            self.assign(text)

    def references(self):
        for kind, vm, number, values in self.sections:
            if kind != 'vm':
                continue
            if 'kernel' not in values:
                self.error('[vm %s] has no kernel; kernel = FILE names it' % vm, number)
            for key in ('kernel', 'initrd'):
                if key in values:
                    value, line = values[key]
                    unpack = key == 'kernel' and values.get('kernel.unpack', ('no',))[0] == 'yes'
                    yield Reference(key, value, unpack, '%s:%d: [vm %s]' % (self.name, line, vm))


def parse(name, data):
    """Read the bytes of a configuration; the errors are sentences with file and line."""
    parser = Parser(name)
    for number, line in enumerate(data.decode('utf-8', errors='replace').splitlines(), 1):
        parser.number = number
        parser.line(line)
    files = list(parser.references())
    machines = sum(section[0] == 'vm' for section in parser.sections)
    if not machines:
        parser.error('there is no machine in it; [vm NAME] begins one')
    if machines > VM_MAX:
        parser.error('%d machines are more than the %d that lintel runs' % (machines, VM_MAX))
    return Parsed(parser.errors, files)

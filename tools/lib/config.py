# SPDX-License-Identifier: MIT
"""lintel.conf as tools/mkiso reads it: the same language as hv/operator/config.c, so that mistakes show before the boot.

KEYS is the one table of keys on this side; a test compares it with hv/operator/config_keys.h.
"""
import re
from typing import NamedTuple

NAME = re.compile(r'(?!-$)[A-Za-z0-9._-]{1,31}$')
# lintel takes any name without white space; these are the characters that GRUB's command line carries unharmed.
FILE = re.compile(r'[A-Za-z0-9._/+@:~-]{1,127}$')
# A partition of a file or drive.
PART = re.compile(r'(.+)/part([0-9]{1,2})$')
# Of a drive and its partition; one drive has one name.
PLACE = re.compile(r'(0|[1-9][0-9]?)(/part[1-9][0-9]?)?$')
SIZE = re.compile(r'([0-9]{1,12})([KMG]?)$')
SIZE_SHIFTS = {'': 0, 'K': 10, 'M': 20, 'G': 30}
MEMORY_MIN, MEMORY_MAX = 64 << 20, 1 << 46
CMDLINE_MAX = 2047
VM_MAX = 64
TIMES = {'disk': 8, 'write': 8, 'cdrom': 4, 'media.file': 16}     # keys that may repeat, and how often
CPU_MAX = 64
VCPUS_MAX = 32


class Key(NamedTuple):
    section: str
    name: str
    type: str       # file, disk, disk_write, cdrom, packed, text, size, a range, cpu_list, vcpu_list, yes_no or the words
    default: str
    right: str      # what would be right, as the error says it


KEYS = [
    Key('hypervisor', 'console', 'com1|com2|com3|com4', 'com1', 'com1, com2, com3 or com4'),
    Key('hypervisor', 'log', 'error|warning|info|debug', 'info', 'error, warning, info or debug'),
    Key('hypervisor', 'shutdown.grace', '0..600', '10', 'a number of seconds from 0 to 600'),
    Key('hypervisor', 'media.poll_ms', '0..3600000', '2000', 'a number of ms from 0 to 3600000'),
    Key('hypervisor', 'media.file', 'packed', '', 'the name of a file for `media insert`'),
    Key('vm', 'kernel', 'file', '', 'the name of a bzImage or a PVH ELF file'),
    Key('vm', 'kernel.unpack', 'yes_no', 'no', 'yes or no'),
    Key('vm', 'initrd', 'file', '', 'the name of an initramfs'),
    Key('vm', 'cmdline', 'text', 'console=ttyS0', 'at most 2047 characters'),
    Key('vm', 'disk', 'disk', '', 'a file or drive such as ahci:1, its /part2, or ram:SIZE such as ram:64M'),
    Key('vm', 'write', 'disk_write', '', 'yes or no, below the disk that it is about'),
    Key('vm', 'cdrom', 'cdrom', '', 'a file, ram:SIZE such as ram:64M, a drive such as ahci:1, or empty'),
    Key('vm', 'virtio.console', 'yes_no', 'no', 'yes or no'),
    Key('vm', 'virtio.rng', 'yes_no', 'no', 'yes or no'),
    Key('vm', 'memory', 'size', '256M', 'a size from 64M on such as 512M or 2G, a multiple of 4K'),
    Key('vm', 'balloon', 'vmware|virtio', 'vmware', 'vmware or virtio'),
    Key('vm', 'balloon.min', 'size', '64M', 'a size from 64M on such as 512M or 2G, a multiple of 4K'),
    Key('vm', 'balloon.max', 'size', '', 'a size from 64M on such as 512M or 2G, a multiple of 4K'),
    Key('vm', 'balloon.forms', 'basic|batch|2m', '2m', 'basic, batch or 2m'),
    Key('vm', 'vcpus', '1..32', '1', 'a number from 1 to 32'),
    Key('vm', 'vcpus.start', 'vcpu_list', '0', 'numbers of vCPUs from 0 to 31 such as 0 or 0-2,5'),
    Key('vm', 'weight', '1..10000', '256', 'a number from 1 to 10000'),
    Key('vm', 'cap', '0..3200', '0', 'a number from 0 to 3200'),
    Key('vm', 'cpus', 'cpu_list', '', 'numbers of CPUs from 0 to 63 such as 2 or 0-2,5'),
    Key('vm', 'personality', 'kvm|vmware|none', 'kvm', 'kvm, vmware or none'),
    Key('vm', 'prefault', 'yes_no', 'no', 'yes or no'),
    Key('vm', 'hypercall_patch', 'yes_no', 'yes', 'yes or no'),
    Key('vm', 'pages', '4k|2m|1g', '1g', '4k, 2m or 1g'),
    Key('vm', 'p2m', 'no|shared', 'no', 'no or shared'),
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


class Section(NamedTuple):
    kind: str       # hypervisor, vm, or nothing for a header that was wrong
    vm: str
    line: int
    values: dict    # key name -> (value, line); a wrong value is None
    repeated: list  # (key name, value, line) of keys that may repeat


def size_of(value):
    found = SIZE.match(value)
    return int(found.group(1)) << SIZE_SHIFTS[found.group(2)] if found else 0


def size_text(size):
    return '%dM' % (size >> 20) if size % (1 << 20) == 0 else '%dK' % (size >> 10)


def size_is_right(value, least=MEMORY_MIN):
    size = size_of(value)
    return least <= size <= MEMORY_MAX and size % 4096 == 0


def disk_is_right(value):
    if not FILE.match(value):
        return False
    if drive_is_meant(value):
        return bool(PLACE.match(value.partition(':')[2]))
    return not value.startswith('ram:') or size_is_right(value[4:], 4096)


def drive_is_meant(value):
    """A drive of the machine, not a file."""
    return value.startswith(('virtio:', 'ahci:', 'ide:'))


def cdrom_is_right(value):
    """Of drives those that may be a CD drive, whole."""
    return disk_is_right(value) and not (drive_is_meant(value) and (value.startswith('virtio:') or '/' in value))


def drives_meet(one, other):
    """Do two names of drives or partitions mean sectors that both have?"""
    return one == other or one.startswith(other + '/') or other.startswith(one + '/')


def cpu_list_is_right(value, most=CPU_MAX):
    pieces = [re.match(r'([0-9]{1,12})(?:-([0-9]{1,12}))?$', piece) for piece in value.split(',')]
    return all(piece and int(piece.group(1)) <= int(piece.group(2) or piece.group(1)) < most for piece in pieces)


def is_right(key, value):
    checks = {
        'file': FILE.match,
        'disk': disk_is_right,
        'cdrom': cdrom_is_right,
        'packed': FILE.match,
        'text': lambda text: len(text) <= CMDLINE_MAX,
        'size': size_is_right,
        'cpu_list': cpu_list_is_right,
        'vcpu_list': lambda text: cpu_list_is_right(text, VCPUS_MAX),
        'yes_no': lambda text: text in ('yes', 'no'),
        'disk_write': lambda text: text in ('yes', 'no'),
    }
    least, dots, most = key.type.partition('..')
    if dots:
        return bool(re.match(r'[0-9]{1,12}$', value)) and int(least) <= int(value) <= int(most)
    return bool(checks.get(key.type, lambda word: word in key.type.split('|'))(value))


def what_is_right(key, text):
    part = PART.match(text)
    if key.type == 'disk' and part and part.group(1).startswith('ram:') and disk_is_right(part.group(1)):
        return 'ram:SIZE without a partition, as a blank disk has no table when it begins'
    return key.right


def strip_comment(line):
    """Without # or ; at the start or behind white space, unless inside quotes."""
    quoted = False
    for i, character in enumerate(line):
        quoted ^= character == '"'
        if not quoted and character in '#;' and (i == 0 or line[i - 1] in ' \t'):
            return line[:i]
    return line


def disk_rows(section):
    """Its disks, each with the `write` that is about it behind it, whatever else stands between the two."""
    return [row for row in section.repeated if row[0] in ('disk', 'write')]


class Parser:
    def __init__(self, name):
        self.name = name
        self.errors = []
        self.sections = []
        self.number = 0

    def error(self, sentence, number=None):
        vm = self.sections[-1].vm if self.sections else ''
        self.errors.append('%s:%d: %s%s' % (self.name, number or self.number, 'vm %s: ' % vm if vm else '', sentence))

    def begin(self, kind, vm=''):
        self.sections.append(Section(kind, vm, self.number, {}, []))

    def section(self, line):
        inner = line[1:-1].strip() if line.endswith(']') else ''
        words = inner.split(None, 1)
        if inner == 'hypervisor':
            seen = any(section.kind == 'hypervisor' for section in self.sections)
            self.begin('' if seen else 'hypervisor')
            if seen:
                self.error('there is a section [hypervisor] already; right would be one alone')
        elif len(words) == 2 and words[0] == 'vm':
            self.begin_vm(words[1])
        else:
            self.begin('')
            self.error('%s opens no section; right would be [hypervisor] or [vm NAME]' % line)

    def begin_vm(self, name):
        if not NAME.match(name):
            self.begin('')
            return self.error('"%s" can\'t be the name of a VM; right would be 1 to 31 of letters, digits, - _ ., not - alone' % name)
        earlier = next((section.line for section in self.sections if section.vm == name), None)
        self.begin('vm', name)
        if earlier:
            self.error('this name was given in line %d already; right would be a name of its own' % earlier)
        return None

    def assign(self, line):
        name, equals, value = (part.strip() for part in line.partition('='))
        if not equals:
            return self.error('"%s" is neither a section nor a value; right would be KEY = VALUE' % line)
        if not self.sections:
            return self.error('"%s" stands before any section; right would be [hypervisor] or [vm NAME] above it'
                              % name)
        section = self.sections[-1]
        if not section.kind:
            return None     # the bad header has been told already
        key = next((key for key in KEYS if (key.section, key.name) == (section.kind, name)), None)
        if not key:
            known = ', '.join(key.name for key in KEYS if key.section == section.kind)
            return self.error('there is no key "%s"; right would be one of %s' % (name, known))
        if name in TIMES:
            return self.repeat(section, key, value)
        if name in section.values:
            return self.error('%s was given in line %d already; right would be once' % (name, section.values[name][1]))
        section.values[name] = (self.value(key, value), self.number)
        return None

    def repeat(self, section, key, value):
        if sum(name == key.name for name, _, _ in section.repeated) == TIMES[key.name]:
            return self.error('%s is given once too often; right would be at most %d times' % (key.name, TIMES[key.name]))
        value = self.value(key, value)
        if key.type != 'disk_write' or value is None or self.has_disk_above(section, key):
            section.repeated.append((key.name, value, self.number))
        return None

    def has_disk_above(self, section, key):
        """`write` is about the disk above it."""
        name, disk, line = (disk_rows(section) or [('', '', 0)])[-1]
        if not name:
            self.error('%s stands above every disk; right would be below the disk that it is about' % key.name)
        elif name == key.name:
            self.error('%s was given in line %d already; right would be once for each disk' % (key.name, line))
        elif disk is not None and not drive_is_meant(disk):
            self.error('%s is for drives of the machine; right would be to leave it away, as what is written to disk = '
                       '%s goes to memory' % (key.name, disk))
        else:
            return True
        return False

    def drives(self):
        """Nobody has a drive beside somebody who writes to it."""
        taken = []
        for section in self.sections:
            rows = disk_rows(section)
            for i, (name, disk, line) in enumerate(rows):
                if name != 'disk' or not disk or not drive_is_meant(disk):
                    continue
                writes = rows[i + 1:i + 2] and rows[i + 1][:2] == ('write', 'yes')
                for other, other_writes, vm, other_line in taken:
                    if (writes or other_writes) and drives_meet(disk, other):
                        self.errors.append(
                            '%s:%d: vm %s: disk = %s is what VM %s has by line %d, and one of the two writes; right would be '
                            'a drive or partition of its own, or write = no in both places'
                            % (self.name, line, section.vm, disk, vm, other_line))
                taken.append((disk, writes, section.vm, line))

    def trays(self):
        """A CD drive of the machine is one VM's alone."""
        taken = {}
        for section in self.sections:
            for name, cdrom, line in section.repeated:
                if name != 'cdrom' or not cdrom or not drive_is_meant(cdrom):
                    continue
                for vm, other_line in taken.setdefault(cdrom, []):
                    self.errors.append('%s:%d: vm %s: cdrom = %s is what VM %s has by line %d; right would be a drive of its '
                                       'own' % (self.name, line, section.vm, cdrom, vm, other_line))
                taken[cdrom].append((section.vm, line))

    def value(self, key, text):
        """The value, or None when it is wrong."""
        if text.startswith('"'):
            text, quote, rest = text[1:].partition('"')
            if not quote or rest:
                return self.error('the quote is not closed; right would be a second " at the end of the value'
                                  if not quote else
                                  '"%s" stands behind the closing quote; right would be nothing there' % rest)
        if not is_right(key, text):
            return self.error('%s = %s is wrong; right would be %s' % (key.name, text, what_is_right(key, text)))
        return text

    def line(self, text):
        odd = next((i for i, c in enumerate(text) if not ' ' <= c <= '~' and c != '\t'), None)
        if odd is not None:
            return self.error('byte 0x%02x in column %d is no text; right would be printable ASCII'
                              % (ord(text[odd]), odd + 1))
        text = strip_comment(text).strip(' \t')
        if text.startswith('['):
            self.section(text)
        elif text:
            self.assign(text)
        return None

    def balloons(self):
        """Of each machine: balloon.min <= balloon.max <= memory, and no prefault of what is not promised."""
        standard = {key.name: key.default for key in KEYS if key.section == 'vm'}
        for section in self.sections:
            given = section.values
            if section.kind != 'vm' or any(value is None for value, _ in given.values()):
                continue
            value = {name: given.get(name, (standard[name], 0))[0] for name in standard}
            value['balloon.max'] = value['balloon.max'] or value['memory']
            for name, limit in (('balloon.max', 'memory'), ('balloon.min', 'balloon.max')):
                if size_of(value[name]) > size_of(value[limit]):
                    self.error_at(section, name, '%s = %s is more than %s = %s; right would be at most that'
                                  % (name, size_text(size_of(value[name])), limit, size_text(size_of(value[limit]))))
            if value['prefault'] == 'yes' and size_of(value['balloon.max']) < size_of(value['memory']):
                self.error_at(section, 'prefault', 'prefault = yes gives all of memory, and balloon.max does not '
                              'promise it; right would be one of the two')

    def error_at(self, section, name, sentence):
        line = section.values.get(name, (None, section.line))[1]
        self.errors.append('%s:%d: vm %s: %s' % (self.name, line, section.vm, sentence))

    def references(self):
        for section in self.sections:
            if section.kind != 'vm':
                yield from self.repeated(section, section.kind)
                continue
            if 'kernel' not in section.values:
                self.errors.append('%s:%d: vm %s: no kernel is named; right would be a line kernel = FILE'
                                   % (self.name, section.line, section.vm))
            vcpus = int(section.values.get('vcpus', ('1', 0))[0] or VCPUS_MAX)    # what is wrong has been told
            start, line = section.values.get('vcpus.start', ('0', 0))
            if start and not cpu_list_is_right(start, vcpus):
                self.errors.append('%s:%d: vm %s: vcpus.start names a vCPU that vcpus = %d does not give; right would be '
                                   'numbers below that' % (self.name, line, section.vm, vcpus))
            for key in ('kernel', 'initrd'):
                value, line = section.values.get(key, (None, 0))
                if value:
                    unpack = key == 'kernel' and section.values.get('kernel.unpack', ('no', 0))[0] == 'yes'
                    yield Reference(key, value, unpack, '%s:%d: vm %s' % (self.name, line, section.vm))
            yield from self.repeated(section, 'vm ' + section.vm)

    def repeated(self, section, who):
        for key, value, line in section.repeated:
            file = key != 'write' and (key, value) != ('cdrom', 'empty')
            if file and value and not value.startswith('ram:') and not drive_is_meant(value):
                yield Reference(key, value, False, '%s:%d: %s' % (self.name, line, who))


def parse(name, data):
    """Read the bytes of a configuration; the errors are sentences with file and line."""
    parser = Parser(name)
    lines = data.decode('latin-1').split('\n')
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        parser.number = number
        parser.line(line[:-1] if line.endswith('\r') else line)
    files = list(parser.references())
    parser.balloons()
    parser.drives()
    parser.trays()
    machines = sum(section.kind == 'vm' for section in parser.sections)
    if not machines:
        parser.errors.append('%s:%d: no VM is described; right would be a section [vm NAME] with kernel = FILE'
                             % (name, max(parser.number, 1)))
    if machines > VM_MAX:
        parser.errors.append('%s:%d: this is one VM too many; right would be at most %d'
                             % (name, [s.line for s in parser.sections if s.kind == 'vm'][VM_MAX], VM_MAX))
    return Parsed(parser.errors, files)

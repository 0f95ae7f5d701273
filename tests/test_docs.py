# SPDX-License-Identifier: MIT
"""What the documentation promises about the sources: stops of the tour, links, commands, keys, sentences, tables."""
import os
import re

import pytest
from support import ROOT

DOCS = sorted([ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')])
TEXTS = {page: page.read_text() for page in DOCS}
MANUAL, TOUR, ABI = (ROOT / 'docs' / name for name in ('manual.md', 'tour.md', 'abi.md'))
ROOMS = ('boot', 'arch', 'hv', 'guest', 'drivers', 'tools', 'tests', 'docs')
MAKEFILE = (ROOT / 'Makefile').read_text()
NUMBER = r'0x[0-9a-f]+u?'


def pages(*chosen):
    return pytest.mark.parametrize('page', chosen or DOCS, ids=lambda page: page.name)


def code_of(text):
    """What stands as code: fenced blocks, indented blocks, words between backticks."""
    fenced = re.findall(r'^```\n(.*?)^```', text, re.M | re.S)
    rest = re.sub(r'^```\n.*?^```', '', text, flags=re.M | re.S)
    return fenced + re.findall(r'^    (\S.*)$', rest, re.M) + re.findall(r'`([^`\n]+)`', rest)


def source_text(*rooms):
    """The sources with the string literals that stand side by side joined."""
    files = [path for room in rooms for path in sorted((ROOT / room).rglob('*')) if path.suffix in ('.c', '.h', '.asm')]
    text = '\n'.join(path.read_text() for path in files)
    text = re.sub(r'"\s*\n\s*(?:db\s+)?"', '', text)
    return re.sub(r'" CONFIG_NAME\s*"?', 'lintel.conf', text).replace('\\"', '"')


def section(text, title):
    found = re.search(r'^(#+) %s\n(.*?)(?=^#{1,3} |\Z)' % re.escape(title), text, re.M | re.S)
    assert found, 'there is no section "%s"' % title
    return found.group(2)


def defines(name, path):
    """Is name defined in the file: a function, an array, a label? A call alone, which is indented, does not count."""
    return re.search(r'^(?:%s:|[A-Za-z].*\b%s(?:\(|\[))' % (name, name), path.read_text(), re.M)


# ---------------------------------------------------------------- the tour

STOP = re.compile(r'^### ([0-9]+)\. .*\n\n((?:`[^`]+` → .*\n)+)', re.M)


def test_each_stop_of_the_tour_exists():
    text = TEXTS[TOUR]
    stops = STOP.findall(text)
    assert [int(number) for number, _ in stops] == list(range(1, text.count('\n### ') + 1))
    missing = []
    for number, places in stops:
        for place in places.splitlines():
            file, names = place.split(' → ')
            path = ROOT / file.strip('`')
            assert path.is_file(), 'stop %s: there is no %s' % (number, file)
            named = re.findall(r'`([^`]+)`', names)
            assert named, 'stop %s names no function' % number
            missing += ['stop %s: %s has no %s' % (number, file, name) for name in named if not defines(name, path)]
    assert missing == []


# ---------------------------------------------------------------- links, files, commands

def anchors(text):
    """As they are made from headings: lower case, blanks are hyphens, other signs go."""
    return {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in re.findall(r'^#+ (.*)$', text, re.M)}


@pages()
def test_each_link_leads_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', TEXTS[page]):
        if link.startswith(('https:', 'http:')):
            continue
        file, _, anchor = link.partition('#')
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pages()
def test_each_file_named_exists(page):
    named = re.findall(r'`((?:%s)/[\w./-]+)`' % '|'.join(ROOMS), TEXTS[page])
    assert [name for name in named if 'NAME' not in name and not (ROOT / name).exists()] == []


@pages()
def test_each_make_command_exists(page):
    for code in code_of(TEXTS[page]):
        for words in re.findall(r'^make((?: +[\w.=/]+)*)', code, re.M):
            for word in words.split():
                name, equals, _ = word.partition('=')
                rule = r'^%s[ \t]*[?:]?=' % name if equals else r'^\.PHONY:.*\b%s\b' % name
                assert equals and name == 'V' or re.search(rule, MAKEFILE, re.M), 'make %s' % word


# ---------------------------------------------------------------- the manual

def table_rows(text):
    """The cells of each row of the tables in text, without their heads."""
    rows = [re.split(r'(?<!\\)\|', line)[1:-1] for line in text.splitlines() if line.startswith('|')]
    cells = [[cell.strip() for cell in row] for row in rows]
    heads = {i - 1 for i, row in enumerate(cells) if set(''.join(row)) == {'-'}}
    return [row for i, row in enumerate(cells) if i not in heads and set(''.join(row)) != {'-'}]


def test_each_key_is_documented_with_its_default():
    header = (ROOT / 'hv/operator/config_keys.h').read_text()
    keys = re.findall(r'^CONFIG_KEY\("([^"]*)", "([^"]*)", [^,]*, "([^"]*)", "([^"]*)"\)', header, re.M)
    assert keys
    documented = []
    for kind, title in (('hypervisor', '[hypervisor]'), ('vm', '[vm NAME]')):
        for name, default, right, _ in table_rows(section(TEXTS[MANUAL], title)):
            documented.append((kind, name.strip('`'), '' if default == 'none' else default.strip('`'), right))
    assert documented == keys


def test_the_help_of_the_monitor_is_that_of_the_manual():
    source = (ROOT / 'hv/operator/monitor.c').read_text()
    commands = re.findall(r'^    \{"([^"]+)", "([^"]*)", "([^"]+)", \w+\},$', source, re.M)
    assert len(commands) >= 10
    text = ''.join('  %s %s%s%s\n' % (verb, name, ' ' * (32 - len(verb) - len(name)), what) for verb, name, what in commands)
    assert 'lintel> help\n' + text in TEXTS[MANUAL]
    # ... and nothing that is typed at the prompt anywhere is unknown, unless lintel says so.
    verbs = tuple(verb for verb, _, _ in commands)
    typed = [found for page in DOCS for found in re.findall(r'^lintel> (.+)\n(.*)', TEXTS[page], re.M)]
    assert [line for line, answer in typed if not line.startswith(verbs) and 'is no command' not in answer] == []


@pytest.mark.parametrize('tool', ['mkiso', 'emulate'])
def test_the_options_of_the_tools_are_those_of_the_manual(tool):
    source = (ROOT / 'tools' / tool).read_text()
    options = set(re.findall(r"add_argument\((?:'-\w', )?'(--[\w-]+)'", source))
    text = section(TEXTS[MANUAL], 'The tools')
    begin = text.index('`tools/%s' % tool)
    part = text[begin:] if tool == 'emulate' else text[begin:text.index('`tools/emulate')]
    assert set(re.findall(r'`(?:-o ISO`, `)?(--[\w-]+)', part)) == options


def test_each_sentence_of_the_manual_is_one_of_lintel():
    sources = source_text('boot', 'hv', 'guest', 'drivers', 'arch')
    # What a format directive leaves open is … in the manual; the words between must be in one string.
    pieces = [piece.strip(' :,.') for row in table_rows(section(TEXTS[MANUAL], 'What lintel says'))
              for sentence in re.findall(r'`([^`]+)`', row[0]) for piece in sentence.split('…')]
    unknown = [piece for piece in pieces if len(piece) > 3 and piece not in sources]
    assert unknown == []


def test_every_refusal_of_the_boot_is_in_the_manual():
    """What is behind "halted: " is the user's first page to look at."""
    text = TEXTS[MANUAL]
    main = re.sub(r'"\s*\n\s*"', '', (ROOT / 'boot/main.c').read_text())
    sentences = re.findall(r'refuse\(\s*"([^"]+)"', main)
    assert len(sentences) >= 2
    features = re.sub(r'"\s*\n\s*"', '', (ROOT / 'arch/x86/svm/features.c').read_text())
    sentences += [found.split(' (')[0].split('%')[0].strip() for found in re.findall(r'size,\s*"([^"\\]+)', features)]
    entry = re.findall(r'"\[lintel\] halted: ([^("]+?)[ :(]*[("]', (ROOT / 'boot/entry.asm').read_text())
    assert len(entry) == 4
    assert [one for one in sentences + entry if one not in text and one != 'virtualisation could not be switched on'] == []


# ---------------------------------------------------------------- the ABI

def numbers_defined(*files):
    return {name: value for file in files
            for name, value in re.findall(r'#define\s+(MSR_\w+)\s+(%s)' % NUMBER, (ROOT / file).read_text())}


def test_the_table_of_msrs_is_that_of_the_policy():
    source = (ROOT / 'guest/policy/msr.c').read_text()
    known = numbers_defined('guest/policy/msr.c', 'guest/policy/kvmclock.h', 'guest/policy/stealtime.h',
                            'arch/x86/machine/cpu.h')
    body = source[source.index('msr_range rows[]'):source.index('const struct msr_bus policy_msrs')]
    rows = re.findall(r'\{(\w+), (\w+), (\w+), (\w+),\s*"([^"]*)"\}', body)
    assert len(rows) == len(re.findall(r'^    \{', body, re.M))

    def number(word):
        return int(known.get(word, word).rstrip('u'), 16)

    def answer(handler):
        return {'NULL': '#GP', 'zero_read': '0', 'write_ignored': 'ignored'}.get(handler, 'yes')

    wanted = []
    for first, last, read, write, why in rows:
        name = '`0x%x`' % number(first) + (' to `0x%x`' % number(last) if number(last) != number(first) else '')
        wanted.append([name, answer(read), answer(write), why])
    assert table_rows(section(TEXTS[ABI], 'MSRs')) == wanted


def test_the_ports_of_the_abi_are_those_of_the_devices():
    machine = (ROOT / 'guest/machine.h').read_text()
    text = section(TEXTS[ABI], 'Devices')
    for name in ('MACHINE_LAPIC_BASE', 'MACHINE_IOAPIC_BASE', 'MACHINE_PM_BASE', 'MACHINE_RESET_PORT'):
        value = re.search(r'%s\s+(0x[0-9a-f]+)' % name, machine).group(1)
        assert value in text, name
    for path in sorted((ROOT / 'guest/devices').glob('*.[ch]')):
        for name, value in re.findall(r'#define (\w+_PORT) +(0x[0-9a-f]+)', path.read_text()):
            assert re.search(r'\b%s\b' % value, text) or value == '0xcfc', '%s: %s' % (path.name, name)


def test_the_fields_of_a_vcpu_are_those_of_the_structure():
    header = (ROOT / 'hv/run/vcpu_snapshot.h').read_text()
    fields = re.findall(r'^SNAPSHOT_AT\(([\w.]+), (0x[0-9a-f]+)\);', header, re.M)
    text = TEXTS[ROOT / 'docs/state.md']
    rows = [row for row in table_rows(text) if row[0].startswith('0x')]
    assert [(name.strip('`'), offset) for offset, name, *_ in rows] == fields
    for row, following in zip(rows, rows[1:]):
        assert int(row[0], 16) + int(row[2]) == int(following[0], 16), row[1]
    assert 'version %s.' % re.search(r'VCPU_SNAPSHOT_VERSION (\d+)', header).group(1) in text


# ---------------------------------------------------------------- looks

@pages()
def test_prose_has_lines_that_fit(page):
    prose = re.sub(r'^```\n.*?^```', '', TEXTS[page], flags=re.M | re.S)
    assert [line for line in prose.splitlines() if len(line) > 110 and not line.startswith(('|', '    '))] == []


def test_every_page_is_linked_from_the_readme():
    for page in DOCS[1:] if DOCS[0].name == 'README.md' else DOCS:
        if page.name != 'README.md':
            assert '](%s)' % os.path.relpath(page, ROOT) in TEXTS[ROOT / 'README.md'], page.name

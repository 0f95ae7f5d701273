# SPDX-License-Identifier: MIT
"""The main job: Debian's own kernel from power-on to a shell in which one can type, and to power-off and reboot."""
import re
import subprocess

import pytest
from support import (BUILD, GUEST, INIT_REACHED, MAKE_RUN, PROMPT, ROOT, Machine, debian_keys, run_in_guest, run_in_monitor,
                     to_monitor)
from test_screen import screen_with

RELEASE = (GUEST / 'modules').resolve().name
# What a newcomer sees, in this order.
LIFE = [
    r'\[lintel\] lintel [0-9.]+, CPU [^,\n]+, engine AMD SVM, memory [0-9]+M$',
    r'\[lintel\] loaded by GRUB [^\n]*',
    r'\[lintel\] own page tables are on: [0-9]+ entries, none both writable and executable$',
    r'\[lintel\] ACPI: ',
    r'\[lintel\] time stamp counter [0-9]+ kHz',
    r'\[lintel\] SVM: [0-9]+ ASIDs',
    r'\[lintel\] VM debian: started with 512M of memory and 1 vCPU',
    r'\[ *0\.000000\] Linux version %s ' % re.escape(RELEASE),
    r'\[ *[0-9.]+\] Run /init as init process$',
    INIT_REACHED,
    PROMPT,
]
END = [
    r'\[lintel\] VM debian: has powered itself off$',
    r'\[lintel\] Every VM has powered itself off; the machine does the same\.$',
    r'\[lintel\] power off$',
]


def assert_in_order(output, patterns):
    at = 0
    for pattern in patterns:
        found = re.compile('^' + pattern, re.M).search(output, at)
        assert found, '%r does not stand where it should; there stands:\n%s' % (pattern, output[at:at + 2000])
        at = found.end()
    return at


def assert_kernel_content(output):
    """No warning or oops of the guest's kernel. (It may say "WARNING" of vulnerable CPUs.)"""
    for word in ('[ cut here ]', 'BUG:', 'Oops', 'Call Trace', 'Kernel panic', 'ACPI Error'):
        assert word not in output, output[output.index(word) - 500:][:3000]


def power_off(machine):
    machine.sendline('poweroff -f')
    assert machine.wait() == 0
    output = machine.output.replace('\r', '')
    at = assert_in_order(output, LIFE + END)
    assert not output[at:].strip(), 'nothing comes behind the last words'
    assert_kernel_content(output)


def assert_typing_works(machine):
    assert run_in_guest(machine, 'echo sum $((6 * 7))') == 'sum 42\n'
    # Ctrl-C reaches who has the terminal: that is the child as soon as it speaks, not before.
    machine.sendline('sh -c "echo begun | tr a-z A-Z; exec sleep 1000"; echo slept')
    machine.expect('BEGUN\r\n')
    machine.send('\x03')
    machine.expect(PROMPT)
    assert run_in_guest(machine, 'echo status $?') == 'status 130\n'
    # Backspace, and a paste that is far longer than any FIFO.
    assert run_in_guest(machine, 'echo wrong\x7f\x7f\x7f\x7f\x7fright').endswith('right\n')
    # The shell edits lines in raw mode, where ^D is a letter: it has left that when it speaks.
    machine.sendline('stty -echo; echo rea""dy; cat | wc; stty echo')
    machine.expect(r'ready\r\n')
    for i in range(40):
        machine.sendline('%03d %s' % (i, 'x' * 95))
    machine.send('\x04')
    machine.expect(r'40 +80 +4000\r\n')
    machine.expect(PROMPT)


@pytest.mark.skipif(BUILD.parent == ROOT / 'build', reason='make run boots the plain build')
@pytest.mark.xdist_group('make_run')    # there is one ISO of it
def test_make_run():
    machine = Machine(MAKE_RUN)
    try:
        machine.expect(INIT_REACHED)
        machine.expect(PROMPT)
        assert_typing_works(machine)
        power_off(machine)
    finally:
        machine.end()


def test_by_uefi_with_a_screen(debian, tmp_path):
    machine = debian(firmware='uefi', screendump=tmp_path / 'screen.ppm')
    assert re.search(r'^\[lintel\] loaded by GRUB [^\n]*, by UEFI', machine.output.replace('\r', ''), re.M)
    assert_typing_works(machine)
    screen_with(machine, tmp_path / 'screen.ppm', [INIT_REACHED + '$', 'sum 42$', 'status 130$'])
    power_off(machine)


def iso_file(iso, path, folder):
    out = folder / 'extracted'
    subprocess.run(['xorriso', '-osirrox', 'on', '-indev', iso, '-extract', path, out], check=True,
                   capture_output=True)
    return out.read_bytes()


def test_the_kernel_of_the_package_as_it_is(debian, make_iso, tmp_path):
    """The bzImage byte for byte; it unpacks itself inside the VM."""
    package, = GUEST.glob('linux-image-*.deb')
    archive = subprocess.run(['dpkg-deb', '--fsys-tarfile', package], check=True, capture_output=True).stdout
    packaged = subprocess.run(['tar', '-x', '-O', './boot/vmlinuz-' + RELEASE], input=archive, check=True,
                              capture_output=True).stdout
    iso = make_iso({'vm debian': debian_keys(kernel='vmlinuz')})
    assert iso_file(iso, '/boot/files/vmlinuz', tmp_path) == packaged
    machine = debian(iso=iso)
    assert run_in_guest(machine, 'uname -r') == RELEASE + '\n'
    power_off(machine)


def test_defaults_are_enough(emulator):
    """A VM with only `kernel` and `initrd` works; without the KVM personality, too."""
    machine = emulator({'vm debian': {'kernel': 'vmlinux', 'initrd': 'initrd.img'},
                        'vm bare': debian_keys(personality='none', memory='256M')})
    machine.expect('VM debian: started with 256M of memory and 1 vCPU')
    machine.expect(PROMPT)
    assert 'Hypervisor detected: KVM' in machine.output
    to_monitor(machine)
    machine.sendline('console bare')
    machine.expect(PROMPT)
    assert run_in_guest(machine, 'dmesg | grep -c "Hypervisor detected"') == '0\n'


# What is written to /sys/kernel/reboot/type, and how lintel names the reset that the kernel then does.
WAYS = [
    ('acpi', 'reset register|0xcf9'),
    ('kbd', 'keyboard controller'),
    ('pci', '0xcf9'),
    ('triple', 'triple fault'),
]


def test_every_kind_of_reboot_begins_anew(debian):
    machine = debian()
    assert run_in_guest(machine, 'cat /sys/kernel/reboot/type') == 'acpi\n'
    for kind, name in WAYS:
        run_in_guest(machine, 'echo %s >/sys/kernel/reboot/type; touch /tmp-mark' % kind)
        machine.sendline('reboot -f')
        machine.expect(r'\[lintel\] .*VM debian: reset \(([^\r\n]*)\)\r\n')
        assert re.search(name, machine.child.match.group(1)), machine.child.match.group(0)
        machine.expect(r'\[ *0\.000000\] Linux version')
        machine.expect(INIT_REACHED)
        machine.expect(PROMPT)
        assert run_in_guest(machine, 'ls /tmp-mark; cut -d . -f 1 /proc/uptime').startswith('ls: /tmp-mark: No such')
    assert re.search(r'VM debian: triple fault on vCPU 0\r\n', machine.output)
    to_monitor(machine)
    assert re.search(r'^debian +running', run_in_monitor(machine, 'vm list'), re.M)
    machine.sendline('console debian')
    machine.expect(PROMPT)
    machine.sendline('poweroff -f')
    assert machine.wait() == 0
    assert_kernel_content(machine.output)

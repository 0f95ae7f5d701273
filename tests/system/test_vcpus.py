# SPDX-License-Identifier: MIT
"""Power states from the operator's side: single vCPUs stopped and started, frames after storms, the ordered shutdown."""
import re

import pytest
from support import INIT_REACHED, MONITOR_KEY, PROMPT, debian_keys, run_in_guest, run_in_monitor, to_monitor
from tiny_guests import PAIRS, cant, console_of, guest, judge_tap, on_each_pair, wait_for_log

METHODS = ['cf9', 'keyboard', 'fadt', 'port92', 'init', 'call']
RESETS = 100


def states_of(machine, vm):
    return re.findall(r'^ *[0-9]+  (\S+) ', run_in_monitor(machine, 'vcpu list ' + vm), re.M)


def test_as_many_as_a_vm_can_have(emulator):
    """Far more than there are CPUs: found in both tables, started, numbered, put away and brought back."""
    machine = emulator({'vm many': guest('smp_start', vcpus='32')}, cpus=2, **PAIRS['svm-qemu'])
    assert machine.wait() == 0
    judge_tap(machine.output.replace('\r', ''))
    assert 'ok 3 32 vCPUs run' in machine.output


@on_each_pair
def test_stop_start_and_set(pair, emulator):
    """A vCPU that spins and counts: stopped it does not, started it goes on where it was."""
    machine = emulator({'vm count': guest('vcpu_counts')}, **PAIRS[pair])
    machine.expect('# begun 3')
    to_monitor(machine)
    assert states_of(machine, 'count') == ['runnable', 'runnable', 'halted', 'uninitialised']
    run_in_monitor(machine, 'vcpu stop count 1')
    wait_for_log(machine, 'VM count: vCPU 1 is stopped by the operator')
    assert 'is stopped already' in run_in_monitor(machine, 'vcpu stop count 1')
    assert states_of(machine, 'count')[1] == 'stopped'
    console_says(machine, r'# vCPU 1 stands still\r\n')
    run_in_monitor(machine, 'vcpu start count 1')
    console_says(machine, r'# vCPU 1 counts on\r\n')
    assert 'only its guest can start it' in run_in_monitor(machine, 'vcpu start count 3')
    run_in_monitor(machine, 'vcpu set count 2 runnable')
    console_says(machine, r'# vCPU 2 woke\r\n')
    run_in_monitor(machine, 'vcpu set count 1 init-received')
    assert states_of(machine, 'count')[1] == 'init-received'
    console_says(machine, r'# vCPU 1 stands still\r\n')
    run_in_monitor(machine, 'vcpu set count 1 sipi-received')
    console_says(machine, r'# vCPU 1 begins anew\r\n')
    # A reset brings back what the creation said, and nothing that was set here.
    run_in_monitor(machine, 'vcpu stop count 0')
    assert states_of(machine, 'count')[0] == 'stopped'
    machine.sendline('vm reset count')
    machine.expect(r'VM count: reset \(by the operator\)')
    while console_of(machine, 'count').count('# begun 3') < 2:
        pass
    assert states_of(machine, 'count') == ['runnable', 'runnable', 'halted', 'uninitialised']
    machine.sendline('shutdown')
    assert machine.wait() == 0


def console_says(machine, text):
    machine.sendline('console count')
    machine.expect('-- console of VM count; ')
    machine.expect(text)
    to_monitor(machine)


def kept(machine, vm):
    """KiB given to the guest, and kept by lintel for it."""
    said = run_in_monitor(machine, 'stats ' + vm)
    return tuple(int(re.search(r'^ *([0-9]+)  KiB of %s' % what, said, re.M).group(1))
                 for what in ('guest memory', "lintel's memory"))


def kept_when_stopped(machine, vm):
    machine.sendline('vm stop ' + vm)
    machine.expect('VM %s: stopped: by the operator' % vm)
    run_in_monitor(machine, '')
    return kept(machine, vm)


def lives_of(machine, vm):
    text = console_of(machine, vm)
    assert 'Bail out' not in text, text
    return text.count('# boot: all as new')


@on_each_pair
def test_resets_leave_no_frame_behind(pair, emulator):
    """What lintel keeps for a VM that does not run is the same after a hundred resets by each method as before.

    The guests reset themselves all the time, so that only one of them runs, and its lives are counted. Names are short,
    as no interrupt comes in Bochs while an SVM guest computes with IF = 0, and the serial port keeps 16 bytes.
    """
    vms = {method[:2]: guest('resets', cmdline=method) for method in METHODS + ['operator']}
    machine = emulator({'vm ' + name: keys for name, keys in vms.items()}, **PAIRS[pair])
    machine.expect('ready: ')
    to_monitor(machine)
    before = {}
    for name in reversed(vms):
        before[name] = kept_when_stopped(machine, name)
        assert before[name][0] == 0
        if name == 'op':
            run_in_monitor(machine, 'vm start op')
    for _ in range(RESETS):
        while states_of(machine, 'op')[1] != 'runnable':    # as the guest makes it behind its check
            pass
        run_in_monitor(machine, 'vcpu stop op 1')
        run_in_monitor(machine, 'vm reset op')
    # One at a time, watched: to look at its console later would write all of it anew, which is slow on Bochs' serial line.
    for name in vms:
        if name == 'op':
            continue
        run_in_monitor(machine, 'vm start ' + name)
        machine.sendline('console ' + name)
        machine.expect('-- console of VM %s; ' % name)
        for _ in range(1 + RESETS):
            machine.expect('# boot: all as new')
        to_monitor(machine)
        assert kept_when_stopped(machine, name) == before[name], name
    machine.sendline('shutdown')
    assert machine.wait() == 0


# QEMU lets the time pass at once in which nothing runs, Bochs nearly so.
@pytest.mark.parametrize('pair, options', [('svm-qemu', {'icount': True}), ('vmx-bochs', {})], ids=['svm-qemu', 'vmx-bochs'])
def test_a_hundred_triple_faults_leave_no_frame_behind(pair, options, emulator):
    """One every six seconds of the TSC: the third within ten would stop the VM."""
    machine = emulator({'vm triple': guest('resets', cmdline='"triple slow"')}, **options, **PAIRS[pair])
    machine.expect('# boot: all as new')
    to_monitor(machine)
    before = kept_when_stopped(machine, 'triple')
    run_in_monitor(machine, 'vm start triple')
    for _ in range(RESETS):
        machine.expect(r'VM triple: reset \(triple fault\)')
    assert lives_of(machine, 'triple') >= RESETS
    assert kept_when_stopped(machine, 'triple') == before
    machine.sendline('shutdown')
    assert machine.wait() == 0


@on_each_pair
def test_resets_bring_back_every_byte(pair, emulator, debug_build):
    """Behind a reset from whatever side all is as after the creation: a debug build compares devices, vCPUs and memory.

    Gone are the power states that the guest and the monitor have set, the creation's are back. Names are short here, too:
    a line that was longer than 16 bytes lost its end while the guest began anew.
    """
    methods = METHODS + ([] if cant(pair, 'triple') else ['triple']) + ['operator']
    machine = emulator({'hypervisor': {'log': 'debug'},
                        **{'vm ' + method[:2]: guest('resets', cmdline='"typed %s"' % method) for method in methods}},
                       lintel=debug_build / 'lintel.elf', **PAIRS[pair])
    machine.expect('ready: ')
    to_monitor(machine)
    for name in (method[:2] for method in methods):
        while '# waiting' not in console_of(machine, name):
            pass
        for number, state in ((1, 'init-received'), (2, 'stopped'), (3, 'halted')):
            run_in_monitor(machine, 'vcpu set %s %u %s' % (name, number, state))
        if name == 'op':
            run_in_monitor(machine, 'vcpu stop op 0')
            assert states_of(machine, name) == ['stopped', 'init-received', 'stopped', 'halted']
            machine.sendline('vm reset op')
        else:
            assert states_of(machine, name)[1:] == ['init-received', 'stopped', 'halted']
            machine.sendline('console ' + name)
            machine.expect('-- console of VM ')
            machine.send('x')
        machine.expect('VM %s: (after the reset it is not as new|is as new: memory, and [0-9]+ bytes)' % name)
        assert 'not as new' not in machine.output
        if name != 'op':
            to_monitor(machine)
        while console_of(machine, name).count('# boot: all as new') < 2:
            pass
        assert 'Bail out' not in console_of(machine, name)
    machine.sendline('shutdown')
    assert machine.wait() == 0


def test_debian_resets_to_every_byte(emulator, debug_build):
    """The same behind a kernel that has used every device, a disk and four vCPUs."""
    machine = emulator('[hypervisor]\nlog = debug\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\n'
                       'memory = 256M\nvcpus = 4\ncmdline = console=ttyS0\ndisk = root.img\ndisk = ram:64M\n',
                       lintel=debug_build / 'lintel.elf')
    for method, why in (('acpi', 'reset by port 0xcf9'), ('kbd', 'the keyboard controller')):
        machine.expect(INIT_REACHED)
        machine.expect(PROMPT)
        run_in_guest(machine, 'modprobe virtio_blk; echo mark >/dev/vdb; sync')
        run_in_guest(machine, 'echo %s >/sys/kernel/reboot/type' % method)
        machine.sendline('reboot -f')
        machine.expect(r'VM debian: reset \(' + why)
        machine.expect('VM debian: (after the reset it is not as new|is as new: memory, and [0-9]+ bytes)')
        assert 'not as new' not in machine.output, machine.output[-1000:]
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


def test_ten_thousand_times_on_and_off_leave_no_frame_behind(emulator):
    machine = emulator({'vm power': guest('cpu_power', cmdline='wait')})
    sizes = []
    for sign in ('# before', '# after'):
        machine.expect(sign)
        to_monitor(machine)
        sizes.append(kept(machine, 'power'))
        machine.send(MONITOR_KEY)
        machine.expect('-- console of VM power')
        machine.send('x')
    assert sizes[0] == sizes[1], sizes
    assert machine.wait() == 0
    assert 'not ok' not in machine.output


@on_each_pair
def test_shutdown_in_order(pair, emulator):
    """Who hears the button ends by itself; who does not is stopped when the time is up; in order, and in the log."""
    grace = '8' if pair == 'svm-qemu' else '2'    # QEMU's seconds are the host's, which may be busy
    machine = emulator({'hypervisor': {'shutdown.grace': grace}, 'vm good': guest('button'),
                        'vm deaf': guest('button', cmdline='deaf')}, **PAIRS[pair])
    wait_for_log(machine, 'VM deaf: started')
    machine.expect('# waiting')
    to_monitor(machine)
    machine.sendline('shutdown')
    assert machine.wait() == 0
    log = re.findall(r'^\[lintel\] (.*?)\r?$', machine.output[machine.output.index('The operator wants'):], re.M)
    assert ['VMs have %s s to switch themselves off.' % grace, 'VM good: its power button is pressed',
            'VM deaf: its power button is pressed', 'VM good: has powered itself off',
            'The %s s are over: what still runs is stopped.' % grace,
            'VM deaf: stopped: by the operator, who wants the machine to power off', 'power off'] == log, log


def test_debian_hears_the_power_button(emulator):
    """ACPI's fixed button, its driver, and busybox's acpid, which has the guest power itself off in time."""
    machine = emulator({'hypervisor': {'shutdown.grace': '600'}, 'vm debian': debian_keys()})
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    for command in ('modprobe button', 'modprobe evdev', 'mkdir -p /etc/acpi/PWRF /var/log /var/run',
                    r"printf '#!/bin/sh\npoweroff -f\n' > /etc/acpi/PWRF/00000080",
                    'chmod +x /etc/acpi/PWRF/00000080', 'acpid'):
        run_in_guest(machine, command)
    assert re.search('^[0-9]+$', run_in_guest(machine, 'pidof acpid').strip())
    to_monitor(machine)
    machine.sendline('shutdown')
    machine.expect('VM debian: its power button is pressed')
    machine.expect('VM debian: has powered itself off')
    machine.expect('No VM runs any more.')
    assert machine.wait() == 0
    assert 'are over' not in machine.output


def test_shutdown_does_not_wait_longer_than_it_must(emulator):
    machine = emulator({'hypervisor': {'shutdown.grace': '600'}, 'vm good': guest('button')})
    machine.expect('# waiting')
    to_monitor(machine)
    machine.sendline('reboot')
    machine.expect('VM good: has powered itself off')
    machine.expect('No VM runs any more.')
    machine.expect(r'\[lintel\] reset')
    assert machine.wait() == 0


@pytest.mark.parametrize('line', ['shutdown', 'reboot'])
def test_asked_twice_it_ends_at_once(line, emulator):
    machine = emulator({'hypervisor': {'shutdown.grace': '600'}, 'vm deaf': guest('button', cmdline='deaf')})
    machine.expect('# waiting')
    to_monitor(machine)
    run_in_monitor(machine, line)
    machine.sendline(line)
    machine.expect(' at once')
    machine.expect('VM deaf: stopped: by the operator, who wants')
    assert machine.wait() == 0

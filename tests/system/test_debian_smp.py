# SPDX-License-Identifier: MIT
"""Debian with several vCPUs: at work while CPUs come and go, rebooted by each method, found without ACPI, under VMX."""
import re

from support import INIT_REACHED, PROMPT, QUICK, SCALE, run_in_guest, run_in_monitor, to_monitor
from test_debian import WAYS, assert_kernel_content

VCPUS = 4
SMALL = {'cmdline': QUICK, 'memory': '256M'}
# Computes, switches, forks and fills memory on all vCPUs, and compares what it computed.
# No job of the shell, which would tell of its end in the midst of another command's output.
STRESS = ('((stress-ng --cpu 4 --cpu-method int64 --switch 2 --vm 1 --vm-bytes 32M --fork 1 --verify --timeout %ds '
          '--metrics-brief; touch /stress.over) >/stress.log 2>&1 &)')
STRESS_S = 20
PATIENCE_S = 120


def cpus_of(machine):
    """What the guest calls online, as 0-3."""
    return run_in_guest(machine, 'cat /sys/devices/system/cpu/online').strip()


def switch(machine, vcpu, online):
    run_in_guest(machine, 'cd /sys/devices/system/cpu/cpu%d; echo %d >online' % (vcpu, online))
    assert run_in_guest(machine, 'cat online') == '%d\n' % online


def power_off(machine):
    machine.sendline('poweroff -f')
    assert machine.wait() == 0
    assert_kernel_content(machine.output)


def test_work_while_cpus_come_and_go(debian):
    """stress-ng verifies all it does, on two CPUs, while each vCPU but the first leaves and comes back, again and again."""
    machine = debian({'vcpus': VCPUS, 'initrd': 'stress.img'}, cpus=2)
    rounds = 0
    while rounds < 2:    # a busy machine makes few of them while it lasts
        run_in_guest(machine, 'rm -f /stress.over')
        run_in_guest(machine, STRESS % STRESS_S)
        while run_in_guest(machine, '[ -e /stress.over ] || echo running'):
            for vcpu in range(1, VCPUS):
                for online in (0, 1):
                    switch(machine, vcpu, online)
            rounds += 1
        log = run_in_guest(machine, 'cat /stress.log')
        print('%d rounds\n%s' % (rounds, log))
        assert 'successful run completed' in log and 'fail' not in log, log
    assert cpus_of(machine) == '0-%d' % (VCPUS - 1)
    power_off(machine)


def spin(machine):
    run_in_guest(machine, 'touch /mark; for i in 1 2 3; do (while :; do :; done) & done')
    assert run_in_guest(machine, 'echo spin""ning') == 'spinning\n'


def reboot(machine, kind, name):
    """By the guest's own method, while its other vCPUs spin."""
    run_in_guest(machine, 'echo %s >/sys/kernel/reboot/type' % kind)
    spin(machine)
    machine.sendline('reboot -f')
    machine.expect(r'\[lintel\] .*VM debian: reset \(([^\r\n]*)\)\r\n', PATIENCE_S)
    assert re.search(name, machine.child.match.group(1)), machine.child.match.group(0)


def begins_anew(machine):
    machine.expect(INIT_REACHED, PATIENCE_S)
    machine.expect(PROMPT)
    assert cpus_of(machine) == '0-%d' % (VCPUS - 1)
    assert run_in_guest(machine, 'ls /mark').startswith('ls: /mark: No such'), 'its memory is new'


def test_five_reboots_by_each_method(debian):
    """In turns: three triple faults within ten seconds would stop the VM."""
    machine = debian({**SMALL, 'vcpus': VCPUS}, cpus=2, timeout=900 * SCALE)
    for _ in range(5):
        for kind, name in WAYS:
            reboot(machine, kind, name)
            begins_anew(machine)
    power_off(machine)


def test_five_resets_by_the_operator(debian):
    machine = debian({**SMALL, 'vcpus': VCPUS}, cpus=2)
    for life in range(5):
        spin(machine)
        to_monitor(machine)
        run_in_monitor(machine, 'vm reset debian')
        machine.sendline('console debian')
        for _ in range(life + 1):
            machine.expect('spinning')    # of each earlier life, replayed
        begins_anew(machine)
    power_off(machine)


def test_without_acpi(debian):
    """The MP table tells of the vCPUs; power-off is the end of all of them in HLT."""
    machine = debian({**SMALL, 'vcpus': VCPUS, 'cmdline': QUICK[:-1] + ' acpi=off"'}, cpus=2)
    assert cpus_of(machine) == '0-%d' % (VCPUS - 1)
    said = run_in_guest(machine, 'dmesg')
    assert 'MultiProcessor Specification v1.4' in said and 'ACPI: Interpreter enabled' not in said, said
    power_off(machine)


def test_on_vmx(debian):
    """Two vCPUs on one CPU of the Intel engine; one of them leaves and comes back."""
    machine = debian({**SMALL, 'vcpus': 2}, engine='vmx', memory='512M')
    assert ', engine Intel VMX, ' in machine.output
    assert cpus_of(machine) == '0-1'
    for online in (0, 1):
        switch(machine, 1, online)
    assert cpus_of(machine) == '0-1'
    power_off(machine)

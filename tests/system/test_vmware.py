# SPDX-License-Identifier: MIT
"""Debian on a machine of VMware's kind: what its kernels take from the port, so that they need calibrate nothing."""
import re

import pytest
from support import INIT_REACHED, PROMPT, debian_keys, run_in_guest

# The name that the build's files of each of Debian's kernels end in; all begin by their PVH entry.
KERNELS = {'amd64': '', 'cloud': '-cloud', '686-pae': '-686-pae'}
# What 6.1 says when it asks a clock that lintel should have spared it.
CALIBRATES = ['Fast TSC calibration', 'PIT calibration', 'Unable to calibrate', 'reference calibration',
              'Refined TSC', 'Using user defined', 'No reference', 'calibrating APIC', 'Marking TSC unstable']


def vmware_keys(kernel, **keys):
    return debian_keys(kernel='vmlinux' + KERNELS[kernel], initrd='initrd%s.img' % KERNELS[kernel],
                       personality='vmware', **keys)


@pytest.mark.parametrize('kernel', KERNELS)
def test_no_kernel_calibrates(kernel, emulator):
    machine = emulator({'vm debian': vmware_keys(kernel, vcpus='2', cmdline='console=ttyS0 apic=verbose')})
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    khz = int(re.search(r'time stamp counter ([0-9]+) kHz', machine.output).group(1))
    said = run_in_guest(machine, 'dmesg')
    for line in ('Hypervisor detected: VMware', 'Booting paravirtualized kernel on VMware hypervisor',
                 'vmware: TSC freq read from hypervisor : %d.%03d MHz' % divmod(khz, 1000),
                 'tsc: Detected %d.%03d MHz processor' % divmod(khz, 1000),
                 'vmware: Host bus clock speed read from hypervisor : 1000000000 Hz',
                 'Calibrating delay loop (skipped) preset value', 'vmware: vmware-stealtime: cpu 0, pa',
                 'vmware: vmware-stealtime: cpu 1, pa'):
        assert line in said, line
    assert [word for word in CALIBRATES if word in said] == []
    clock = run_in_guest(machine, 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource')
    assert clock in ('tsc\n', 'tsc-early\n')
    # Stolen time is counted by the same record when a CPU comes back.
    run_in_guest(machine, 'cd /sys/devices/system/cpu/cpu1 && echo 0 >online && echo 1 >online; cd /')
    assert run_in_guest(machine, 'cat /sys/devices/system/cpu/online') == '0-1\n'
    assert run_in_guest(machine, 'dmesg | grep -c "vmware-stealtime: cpu 1"') == '2\n'
    machine.sendline('poweroff -f')
    assert machine.wait() == 0

# SPDX-License-Identifier: MIT
"""One Debian guest from power-on to power-off on every machine that the emulators here can be."""
import pytest
from support import run_in_guest

# name, options of tools/emulate, why the row is here
MACHINES = [
    ('epyc-bios', {}, 'the machine of make run'),
    ('epyc-uefi', {'firmware': 'uefi'}, 'another loader, memory map and ACPI tables'),
    ('epyc-vgif', {'cpu': 'EPYC,+vgif'}, 'virtual GIF offered'),
    ('max-bios', {'cpu': 'max,-la57'}, 'every feature that QEMU has'),
    ('max-uefi', {'cpu': 'max,-la57', 'firmware': 'uefi'}, 'the same behind UEFI'),
    ('qemu64', {'cpu': 'qemu64,+npt'}, 'the least: no 1 GiB pages'),
    ('epyc-rome', {'cpu': 'EPYC-Rome'}, 'a newer model'),
    # With XSAVE this model hangs QEMU 7.2 itself as soon as CR4.OSXSAVE is set, under bare Linux as well.
    ('opteron', {'cpu': 'Opteron_G5,+npt,-xsave'}, 'an old model, without XSAVE'),
    ('phenom', {'cpu': 'phenom,+npt'}, 'an older one'),
    ('many-cpus', {'cpus': 4}, 'CPUs that are not started stay quiet'),
    ('much-memory', {'memory': '6G'}, 'RAM above 4 GiB'),
    ('bochs-ryzen', {'emulator': 'bochs', 'memory': '2G'}, 'the second opinion on SVM: next RIP saved, other bugs'),
]


@pytest.mark.matrix
@pytest.mark.parametrize('options', [row[1] for row in MACHINES], ids=[row[0] for row in MACHINES])
def test_debian(options, debian):
    machine = debian(**options)
    assert run_in_guest(machine, 'echo sum $((6 * 7))') == 'sum 42\n'
    machine.sendline('poweroff -f')
    assert machine.wait() == 0

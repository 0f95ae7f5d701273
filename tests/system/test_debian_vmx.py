# SPDX-License-Identifier: MIT
"""Debian under the Intel engine, from power-on to a shell in which one can type, and to power-off."""
from support import QUICK, run_in_guest


def test_debian_on_vmx(debian):
    """The kernel unpacked, and with few self-tests: Bochs executes 100 million instructions per second."""
    machine = debian({'cmdline': QUICK}, engine='vmx', memory='1G')
    assert ', engine Intel VMX, ' in machine.output
    assert run_in_guest(machine, 'echo sum $((6 * 7))') == 'sum 42\n'
    assert run_in_guest(machine, 'echo wrong\x7f\x7f\x7f\x7f\x7fright').endswith('right\n')
    machine.sendline('sleep 1000; echo slept')
    machine.expect('echo slept\r\n')
    machine.send('\x03')
    machine.expect('guest# ')
    assert run_in_guest(machine, 'echo status $?') == 'status 130\n'
    assert run_in_guest(machine, 'dmesg | grep -c -e "cut here" -e BUG: -e Oops -e "Call Trace"') == '0\n'
    machine.sendline('poweroff -f')
    assert machine.wait() == 0

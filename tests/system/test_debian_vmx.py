# SPDX-License-Identifier: MIT
"""Debian under the Intel engine, from power-on to a shell in which one can type, and to power-off: make run ENGINE=vmx."""
import pytest
from support import (BUILD, GUEST, INIT_REACHED, MAKE_RUN, PROMPT, QUICK, ROOT, Machine, conf_text, debian_keys, run_in_guest,
                     run_in_monitor, to_monitor)


@pytest.fixture
def make_run(tmp_path):
    """The kernel unpacked, and with few self-tests: Bochs executes 100 million instructions per second."""
    conf = tmp_path / 'quick.conf'
    conf.write_text(conf_text({'vm debian': debian_keys(cmdline=QUICK)}))
    for name in ('vmlinux', 'initrd.img'):
        (tmp_path / name).symlink_to(GUEST / name)
    machine = Machine(MAKE_RUN + ['ENGINE=vmx', 'MEMORY=1G', 'CONF=%s' % conf])
    yield machine
    machine.end()


@pytest.mark.skipif(BUILD.parent == ROOT / 'build', reason='make run boots the plain build')
@pytest.mark.xdist_group('make_run')
def test_make_run_on_vmx(make_run):
    make_run.expect(INIT_REACHED)
    make_run.expect(PROMPT)
    assert ', engine Intel VMX, ' in make_run.output
    assert run_in_guest(make_run, 'echo sum $((6 * 7))') == 'sum 42\n'
    assert run_in_guest(make_run, 'echo wrong\x7f\x7f\x7f\x7f\x7fright').endswith('right\n')
    # Not before the child speaks has the shell left raw mode, where ^C is a letter.
    make_run.sendline('sh -c "echo begun | tr a-z A-Z; exec sleep 1000"; echo slept')
    make_run.expect('BEGUN\r\n')
    make_run.send('\x03')
    make_run.expect(PROMPT)
    assert run_in_guest(make_run, 'echo status $?') == 'status 130\n'
    assert run_in_guest(make_run, 'dmesg | grep -c -e "cut here" -e BUG: -e Oops -e "Call Trace"') == '0\n'
    to_monitor(make_run)
    assert 'tree agree about' in run_in_monitor(make_run, 'p2m audit debian')
    make_run.sendline('console debian')
    make_run.expect(PROMPT)
    make_run.sendline('poweroff -f')
    assert make_run.wait() == 0

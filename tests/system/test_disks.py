# SPDX-License-Identifier: MIT
"""Debian from a disk: root=/dev/vda, what it writes is there behind its reboot; interrupts by message and by line."""
import hashlib
import re

import pytest
from support import INIT_REACHED, MONITOR_KEY, MONITOR_PROMPT, PROMPT, QUICK, run_in_guest
from test_debian import assert_kernel_content
from tiny_guests import PAIRS, console_of, guest, judge_tap, wait_for_log

ROOT_DISK = 'root=/dev/vda'
# Of 32 MiB: busybox's cmp, byte by byte, takes ten seconds more on Bochs.
SUM_OF_ZEROS = hashlib.md5(bytes(32 << 20)).hexdigest()
CONTENT_QUICK = QUICK.rstrip('"') + ' %s"' % ROOT_DISK


def disk_guest(emulator, cmdline, disks='disk = root.img\ndisk = ram:64M\n', **options):
    """A Debian that lives on a disk, with another one that is blank; a Machine at its prompt."""
    conf = ('[hypervisor]\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\nmemory = 256M\n'
            'cmdline = %s\n%s' % (cmdline, disks))
    machine = emulator(conf, **options)
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    assert run_in_guest(machine, 'mount | grep -c "^/dev/vda on / type ext4"') == '1\n'
    return machine


def write_read_flush_discard(machine, megabytes):
    """On the blank disk, each judged by what is read back past the guest's cache."""
    said = run_in_guest(machine, 'cat /sys/block/vdb/serial; echo; cat /sys/block/vdb/size', 120)
    assert said == 'disk1\n%d\n' % (64 * 2048)
    run_in_guest(machine, 'dd if=/dev/urandom of=/tmp/random bs=1M count=%d 2>/dev/null' % megabytes, 300)
    run_in_guest(machine, 'dd if=/tmp/random of=/dev/vdb bs=64k seek=3 conv=fsync 2>/dev/null; '
                 'echo 3 >/proc/sys/vm/drop_caches', 300)
    compare = 'dd if=/dev/vdb bs=64k skip=3 count=%d 2>/dev/null | cmp - /tmp/random && echo same' % (16 * megabytes)
    assert run_in_guest(machine, compare, 300).endswith('same\n')
    assert run_in_guest(machine, 'blkdiscard -o 0 -l 33554432 /dev/vdb; echo $?', 300) == '0\n'
    run_in_guest(machine, 'echo 3 >/proc/sys/vm/drop_caches')
    assert run_in_guest(machine, 'dd if=/dev/vdb bs=1M count=32 2>/dev/null | md5sum', 300) == SUM_OF_ZEROS + '  -\n'


def test_debian_lives_on_a_disk(emulator):
    machine = disk_guest(emulator, 'console=ttyS0 ' + ROOT_DISK)
    write_read_flush_discard(machine, 8)
    run_in_guest(machine, 'cp /tmp/random /root/; md5sum </root/random >/root/sum; fstrim / && echo mark >/dev/vdb; sync')
    machine.sendline('reboot -f')
    machine.expect(r'VM debian: reset \(')
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    assert run_in_guest(machine, 'md5sum </root/random | cmp - /root/sum && echo same').endswith('same\n')
    assert run_in_guest(machine, 'head -c 4 /dev/vdb; echo; mount | grep -c "^/dev/vda on / type ext4"').endswith('mark\n1\n')
    assert re.search(r'PCI-MSI .*virtio0-req', run_in_guest(machine, 'grep virtio /proc/interrupts'))
    assert run_in_guest(machine, 'dmesg | grep -c -e "I/O error" -e "EXT4-fs error" -e "EXT4-fs warning"') == '0\n'
    assert_kernel_content(machine.output)
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


def test_debian_lives_on_a_disk_on_vmx(emulator):
    machine = disk_guest(emulator, CONTENT_QUICK, **PAIRS['vmx-bochs'], memory='768M')
    write_read_flush_discard(machine, 1)
    assert re.search(r'PCI-MSI .*virtio0-req', run_in_guest(machine, 'grep virtio /proc/interrupts'))
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


# Without messages the line is found in ACPI's _PRT, or in the MP table.
@pytest.mark.parametrize('words', ['pci=nomsi', 'pci=nomsi acpi=off'])
def test_interrupts_by_line(words, emulator):
    machine = disk_guest(emulator, 'console=ttyS0 %s %s' % (ROOT_DISK, words))
    write_read_flush_discard(machine, 1)
    lines = run_in_guest(machine, 'grep virtio /proc/interrupts')
    assert re.search(r'IO-APIC +17-fasteoi +virtio0', lines) and re.search(r'IO-APIC +18-fasteoi +virtio1', lines), lines
    assert 'PCI-MSI' not in lines


def test_the_same_image_twice(emulator):
    """Two VMs write to one file: each finds its own; and one whose disks do not fit is absent, with a sentence."""
    vms = {'vm ' + name: guest('virtio_image') for name in ('a', 'b')}
    vms['vm big'] = guest('virtio_image', disk='ram:64G')
    machine = emulator(vms, **PAIRS['svm-qemu'])
    wait_for_log(machine, 'VM a: has powered itself off', 'VM b: has powered itself off',
                 'VM big: disk = ram:64G does not fit')
    machine.expect(MONITOR_PROMPT)
    for name in ('a', 'b'):
        judge_tap(console_of(machine, name))
    machine.sendline('shutdown')
    assert machine.wait() == 0


def test_a_hostile_driver_on_two_cpus(emulator):
    """A vCPU on another CPU rewrites descriptors while the device reads them; a neighbour feels nothing."""
    vms = {'vm hostile': guest('virtio_hostile'), 'vm good': guest('virtio_blk'), 'vm last': guest('halt', cmdline='open')}
    machine = emulator(vms, cpus=2, **PAIRS['svm-qemu'])
    wait_for_log(machine, 'VM hostile: has powered itself off', 'VM good: has powered itself off')
    machine.send(MONITOR_KEY)
    machine.expect(MONITOR_PROMPT)
    for name in ('hostile', 'good'):
        judge_tap(console_of(machine, name))
    machine.sendline('shutdown')
    assert machine.wait() == 0

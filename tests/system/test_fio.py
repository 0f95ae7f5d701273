# SPDX-License-Identifier: MIT
"""fio in a Debian guest reads what it has written, on a disk in memory and on drives of the machine.

fio and its many libraries are on the guest's root disk, a drive of the machine. The legacy IDE disk of Bochs, under VMX,
is the root and a drive to be written to at once, in two partitions. LINTEL_SOAK_FIO_MIB is how much each job
of `make soak` has for itself.
"""
import os

import pytest
from support import INIT_REACHED, PROMPT, QUICK, find_file, mbr_image, run_in_guest
from test_drives import CYLINDER, ahci, virtio
from tiny_guests import PAIRS

CONF = ('[hypervisor]\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\nmemory = 512M\ncmdline = %s\n'
        'disk = virtio:0\nwrite = yes\ndisk = ram:%dM\ndisk = virtio:1\nwrite = yes\ndisk = ahci:1\nwrite = yes\n')
MIB = 4
SOAK_MIB = int(os.environ.get('LINTEL_SOAK_FIO_MIB', '256'))
BOCHS_CONF = ('[hypervisor]\nshutdown.grace = 0\n[vm debian]\nkernel = vmlinux\ninitrd = initrd.img\nmemory = 256M\n'
              'cmdline = %s\ndisk = ide:1/part1\nwrite = yes\ndisk = ram:3M\ndisk = ide:1/part2\nwrite = yes\n')
BOCHS_MIB, BOCHS_SECTORS = 1, 3 << 11
CMDLINE = QUICK.rstrip('"') + ' root=/dev/vda"'
JOBS = 5    # how often fio says how many errors it has met, per disk


def root_words(path):
    """A drive whose writes QEMU forgets, so that the build's image stays as it is."""
    return ['-drive', 'if=none,id=root,format=raw,snapshot=on,file=%s' % path,
            '-device', 'virtio-blk-pci,disable-legacy=on,drive=root']


def verify(emulator, tmp_path, mib, patience):
    disks = [tmp_path / 'virtio.img', tmp_path / 'ahci.img']
    for disk in disks:
        with open(disk, 'wb') as file:
            file.truncate(3 * mib << 20)
    machine = emulator(CONF % (CMDLINE, 3 * mib), timeout=patience,
                       qemu_arg=root_words(find_file('fio.img')) + virtio('v', disks[0]) + ahci('s', disks[1], 1),
                       **PAIRS['svm-qemu'])
    judge(machine, mib, ['/dev/vdb', '/dev/vdc', '/dev/vdd'], patience)


def judge(machine, mib, names, patience):
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    said = run_in_guest(machine, '/tests/verify_disks %d %s' % (mib, ' '.join(names)), patience)
    assert said.endswith('fio: 0\n'), said[-6000:]
    assert said.count('err= 0') == len(names) * JOBS and 'verify' not in said, said[-6000:]
    assert run_in_guest(machine, 'dmesg | grep -c -e "I/O error" -e "EXT4-fs error"') == '0\n'
    assert '[lintel] drive ' not in machine.output.split(INIT_REACHED)[1]
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


def test_fio_finds_what_it_wrote(emulator, tmp_path):
    verify(emulator, tmp_path, MIB, 600)


@pytest.mark.soak
def test_fio_finds_all_that_it_wrote(emulator, tmp_path):
    verify(emulator, tmp_path, SOAK_MIB, 7200)


@pytest.mark.soak
def test_fio_finds_what_it_wrote_on_vmx(emulator, tmp_path):
    """Bochs's one disk, legacy IDE, has the root and what is written to; and a disk in memory beside it."""
    root, disk = find_file('fio.img').read_bytes(), tmp_path / 'ide.img'
    image = mbr_image([(2, 2048, BOCHS_SECTORS), (1, 2048 + BOCHS_SECTORS, len(root) // 512)], root)
    disk.write_bytes(image + bytes(-len(image) % CYLINDER))
    machine = emulator(BOCHS_CONF % CMDLINE, timeout=1200, memory='512M', disk=disk, **PAIRS['vmx-bochs'])
    judge(machine, BOCHS_MIB, ['/dev/vdb', '/dev/vdc'], 1200)

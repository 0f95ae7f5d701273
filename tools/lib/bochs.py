# SPDX-License-Identifier: MIT
"""Bochs, as tools/emulate runs it: VMX (and a second SVM), its serial line on a pseudo-terminal.

Debian's build has the debugger compiled in, so a command file lets it run; it ends by itself when the machine powers
off. No display window and no network port is opened: the text display draws into /dev/null.
It knows text modes alone, so the VGA has no graphics extension and lintel gets a text screen.
"""
import os
import pty
import re
import subprocess
import time
import tty

from child import Child

# The model for each engine; both have nested paging, and the Intel one unrestricted guests.
MODELS = {'svm': 'ryzen', 'vmx': 'corei7_haswell_4770'}
# What a 16550 holds, halved, and how long lintel may take over it.
TYPED_AT_ONCE, TYPING_PAUSE_S = 8, 0.02
# Instructions per virtual second. With several CPUs idle ones are stepped too, so their seconds must be cheap.
IPS_ONE_CPU, IPS_MANY_CPUS = 100000000, 20000000
# Megabytes that Bochs itself holds; more of the guest's go to a file.
HOST_MEMORY_MAX = 2048
SIZE_UNITS = {'': 1, 'M': 1, 'G': 1024}

# Cylinders of the customary size, counted by Bochs.
DISK = 'ata0-slave: type=disk, mode=flat, path="%s", cylinders=0, heads=16, spt=63'

CONFIG = """\
config_interface: textconfig
display_library: term
vga: extension=none
sound: driver=dummy
speaker: enabled=0
cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={memory}, host={host_memory}
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/vgabios/vgabios.bin
pci: enabled=1, chipset=i440fx
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="{iso}", status=inserted
{disk}
boot: cdrom
clock: sync=none, time0=utc
com1: enabled=1, mode=term, dev={serial}
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""


def megabytes(size):
    found = re.match(r'([0-9]+)([MG]?)$', size)
    if not found:
        raise SystemExit('emulate: --memory %s is not right; 512M or 2G is' % size)
    return int(found.group(1)) * SIZE_UNITS[found.group(2)]


class Machine(Child):
    ends_at_reset = False

    def __init__(self, options, folder):
        self.serial, slave = pty.openpty()
        tty.setraw(slave)
        self.next_write = 0.0
        self.slave = slave      # held open, so that the line outlives Bochs until all is read
        config, commands = os.path.join(folder, 'bochsrc'), os.path.join(folder, 'commands')
        with open(config, 'w') as file:
            file.write(CONFIG.format(
                model=options.cpu or MODELS[options.engine], cpus=options.cpus,
                ips=IPS_ONE_CPU if options.cpus == 1 else IPS_MANY_CPUS, memory=megabytes(options.memory),
                host_memory=min(megabytes(options.memory), HOST_MEMORY_MAX),
                iso=os.path.abspath(options.iso), disk=DISK % os.path.abspath(options.disk) if options.disk else '',
                serial=os.ttyname(slave), log=os.path.join(folder, 'log')))
        with open(commands, 'w') as file:
            file.write('c\nquit\n')
        os.set_blocking(self.serial, False)
        super().__init__(['bochs-bin', '-q', '-f', config, '-rc', commands], folder, stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, env=dict(os.environ, TERM='vt100'))

    def write(self, data):
        """Bochs loses what its 16550 has no room for, so that nobody may type faster than lintel reads."""
        time.sleep(max(0.0, self.next_write - time.monotonic()))
        self.next_write = time.monotonic() + TYPING_PAUSE_S
        return super().write(data[:TYPED_AT_ONCE])

    def screendump(self, path):
        pass    # the text display has no picture

    @staticmethod
    def is_noise(line):
        return re.match(r'[0-9]+i\[', line) or not line.strip('= ')

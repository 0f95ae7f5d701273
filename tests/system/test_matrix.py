# SPDX-License-Identifier: MIT
"""make matrix: every CPU model, firmware, machine type and memory size that the emulators here can be.

On each machine the tiny guests run (many of them as VMs of one boot) and Debian from power-on to power-off, and a CPU that
lacks what lintel needs is refused with a sentence. The rows end as a table (conftest.py).
"""
import re

import pytest
from support import QUICK, run_in_guest
from tiny_guests import GUESTS, judge_guest, run_all

pytestmark = pytest.mark.matrix

PC = {'qemu_arg': ['-M', 'pc']}
UEFI = {'firmware': 'uefi'}
QEMU_MODELS = {
    'epyc': 'EPYC',                                      # the machine of make run
    'epyc-vgif': 'EPYC,+vgif',                           # virtual GIF offered
    'epyc-rome': 'EPYC-Rome',                            # a newer one
    'qemu64': 'qemu64,+npt',                             # the least: no 1 GiB pages
    # With XSAVE this model hangs QEMU 7.2 itself as soon as CR4.OSXSAVE is set, under bare Linux as well.
    'opteron': 'Opteron_G5,+npt,-xsave',                 # an old model, without XSAVE
    'phenom': 'phenom,+npt',                             # an older one
    'max': 'max,-la57',                                  # every feature that QEMU has
    'max-la57': 'max',                                   # five-level paging offered
    'max-intel': 'max,vendor=GenuineIntel,-la57',        # the engine is chosen by features, not by the vendor
}
# The others that have SVM, on one board: they differ in what guests see, not in what lintel uses.
QEMU_OTHER_MODELS = {
    'epyc-milan': 'EPYC-Milan', 'epyc-ibpb': 'EPYC-IBPB', 'dhyana': 'Dhyana', 'opteron-g1': 'Opteron_G1,+svm,+npt',
    'opteron-g2': 'Opteron_G2,+npt', 'opteron-g3': 'Opteron_G3,+npt', 'opteron-g4': 'Opteron_G4,+npt,-xsave',
}
BOCHS_VMX_MODELS = ['corei5_arrandale_m520', 'corei7_sandy_bridge_2600k', 'corei7_ivy_bridge_3770k',
                    'corei7_haswell_4770', 'broadwell_ult', 'corei7_skylake_x', 'corei3_cnl', 'corei7_icelake_u',
                    'tigerlake']
BOCHS_SVM_MODELS = ['ryzen', 'zambezi', 'trinity_apu', 'phenom_8650_toliman']
MEMORY_SIZES = ['384M', '1G', '3G', '4G', '6G']


def qemu_machines():
    return {'qemu %s %s %s' % (name, firmware, board): {'cpu': model, **more, **chips}
            for name, model in QEMU_MODELS.items()
            for firmware, more in (('bios', {}), ('uefi', UEFI))
            for board, chips in (('q35', {}), ('pc', PC))}


def qemu_others():
    return {'qemu %s bios q35' % name: {'cpu': model} for name, model in QEMU_OTHER_MODELS.items()}


def bochs_machines(engine, models):
    return {'bochs %s %s' % (engine, model): {'engine': engine, 'emulator': 'bochs', 'cpu': model} for model in models}


def sizes(name, options, memory_sizes):
    return {'%s %s' % (name, memory): {**options, 'memory': memory} for memory in memory_sizes}


TINY = {**qemu_machines(), **qemu_others(),
        **bochs_machines('vmx', BOCHS_VMX_MODELS), **bochs_machines('svm', BOCHS_SVM_MODELS),
        'qemu epyc 4 cpus': {'cpu': 'EPYC', 'cpus': 4},
        'bochs vmx corei7_haswell_4770 2 cpus': {'engine': 'vmx', 'cpus': 2}}
DEBIAN = {**TINY,
          **sizes('qemu epyc bios q35', {}, MEMORY_SIZES), **sizes('qemu epyc uefi q35', UEFI, MEMORY_SIZES),
          # The BIOS of Bochs tells of no memory above 4 GiB.
          **sizes('bochs vmx corei7_haswell_4770', {'engine': 'vmx'}, ['384M', '1G', '4G']),
          **sizes('bochs svm ryzen', {'emulator': 'bochs'}, ['384M', '4G'])}


def smp_machines():
    """More, as many, and fewer vCPUs than CPUs; and as many as a VM can have on one CPU."""
    qemu = {'qemu epyc %d vcpus %d cpus' % (vcpus, cpus): {'vcpus': vcpus, 'cpus': cpus}
            for vcpus, cpus in [(vcpus, cpus) for vcpus in (2, 4, 8) for cpus in (1, 2, 4, 8)] + [(32, 1)]}
    bochs = {'bochs %s %d vcpus %d cpus' % (engine, number, number):
             {'vcpus': number, 'cpus': number, 'engine': engine, 'emulator': 'bochs'}
             for engine in ('vmx', 'svm') for number in (2, 4)}
    return {**qemu, **bochs}


DEBIAN_SMP = smp_machines()
NEITHER, NO_LONG_MODE = 'this CPU has neither AMD SVM', 'this CPU has no long mode'
REFUSED = {
    **{'bochs ' + model: ({'emulator': 'bochs', 'cpu': model}, sentence)
       for model, sentence in (('p4_prescott_celeron_336', NEITHER), ('athlon64_clawhammer', NEITHER),
                               ('athlon64_venice', NEITHER), ('core_duo_t2400_yonah', NO_LONG_MODE),
                               ('atom_n270', NO_LONG_MODE), ('pentium_mmx', NO_LONG_MODE))},
    'qemu qemu64 without npt': ({'cpu': 'qemu64'}, 'SVM has no nested paging'),
    'qemu qemu64 without svm': ({'cpu': 'qemu64,-svm'}, NEITHER),
    'qemu 32 bits': ({'cpu': 'athlon'}, NO_LONG_MODE),
    'bochs vmx bx_generic': ({'engine': 'vmx', 'cpu': 'bx_generic'}, 'VMX'),
    'bochs vmx core2_penryn_t9600': ({'engine': 'vmx', 'cpu': 'core2_penryn_t9600'}, 'VMX can\'t do "EPT"'),
    'bochs vmx corei5_lynnfield_750': ({'engine': 'vmx', 'cpu': 'corei5_lynnfield_750'},
                                       'VMX can\'t do "unrestricted guest"'),
    'bochs svm turion64_tyler': ({'emulator': 'bochs', 'cpu': 'turion64_tyler'}, 'SVM has no nested paging'),
}
CANT = {
    'qemu vmx': 'TCG emulates no VMX',
    'bochs uefi': 'Bochs boots by its BIOS alone',
    'bochs q35': 'Bochs is an i440fx machine',
    'bochs 6G': 'the BIOS of Bochs tells of no memory above 4 GiB',
}


# What guests must be told of a machine: by a word of its name.
CMDLINES = {
    # No real CPU has SVM and this name.
    'max-intel': dict.fromkeys(['hypercall_modes', 'hypercall_pages', 'hypercall_race', 'paging_on'], 'vmmcall'),
    'max-la57': {'hypercall_modes': 'five-levels'},
}
# Bochs 2.7 shows POPCNT on this model and has it not: bare Linux ends there, too, unless it is told.
DEBIAN_WORDS = {'bochs svm phenom_8650_toliman': 'clearcpuid=151'}


@pytest.mark.parametrize('machine', TINY)
def test_tiny(machine, emulator):
    pair = 'svm-qemu' if machine.startswith('qemu') else machine.split()[1] + '-bochs'
    cmdlines = next((words for word, words in CMDLINES.items() if ' %s ' % word in machine), {})
    consoles = run_all(lambda vms: emulator(vms, **TINY[machine]), pair, cmdlines)
    for name in GUESTS:
        judge_guest(consoles[name], pair, name)


@pytest.mark.parametrize('machine', DEBIAN)
def test_debian(machine, debian):
    cmdline = '%s %s"' % (QUICK.rstrip('"'), DEBIAN_WORDS.get(machine, ''))
    shell = debian({'cmdline': cmdline, 'memory': '256M'}, **DEBIAN[machine])
    assert run_in_guest(shell, 'echo sum $((6 * 7))') == 'sum 42\n'
    shell.sendline('poweroff -f')
    assert shell.wait() == 0


@pytest.mark.parametrize('machine', DEBIAN_SMP)
def test_smp(machine, debian):
    """All vCPUs are there, one leaves and comes back, all have work."""
    vcpus, options = DEBIAN_SMP[machine]['vcpus'], {**DEBIAN_SMP[machine]}
    del options['vcpus']
    shell = debian({'cmdline': QUICK, 'memory': '512M', 'vcpus': vcpus}, **options)
    path, all_of_them = '/sys/devices/system/cpu', '0-%d\n' % (vcpus - 1)
    assert run_in_guest(shell, 'cat %s/online' % path) == all_of_them
    for online in (0, 1):
        run_in_guest(shell, 'echo %d >%s/cpu1/online' % (online, path))
        assert run_in_guest(shell, 'cat %s/cpu1/online' % path) == '%d\n' % online
    assert run_in_guest(shell, 'cat %s/online' % path) == all_of_them
    run_in_guest(shell, 'for i in $(seq %d); do sha256sum /bin/busybox & done >/sums; wait' % vcpus, 300)
    assert run_in_guest(shell, 'sort -u /sums | wc -l; wc -l </sums') == '1\n%d\n' % vcpus
    shell.sendline('poweroff -f')
    assert shell.wait() == 0


@pytest.mark.parametrize('machine', REFUSED)
def test_refused(machine, emulator):
    options, sentence = REFUSED[machine]
    halted = emulator({'vm tiny': {'kernel': 'hypercall.elf', 'memory': '64M'}}, **options)
    assert halted.wait() == 1
    assert re.search(r'\[lintel\] halted: .*' + re.escape(sentence), halted.output), halted.output


@pytest.mark.parametrize('machine', CANT)
def test_cant(machine):
    pytest.skip("can't: " + CANT[machine])

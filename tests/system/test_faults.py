# SPDX-License-Identifier: MIT
"""lintel's own faults, planted from outside through the emulator's gdb stub: what is said, and what is survived."""
import re
import struct
import time

import pytest
from gdbstub import DIRECT_MAP_BASE, IMAGE_BASE, PATIENCE, PTE_ADDRESS, PTE_NX, PTE_WRITE, Stub
from support import (BUILD, INIT_REACHED, MONITOR_PROMPT, PROMPT, debian_keys, run_in_guest, run_in_monitor,
                     shut_down, to_monitor)

TINY = {'kernel': 'cpuid.elf', 'memory': '64M'}
SPIN = {'kernel': 'spin_cli.elf', 'memory': '64M'}
MEMORY = '256M'
P2M_WINDOW_BASE = 0xffffc80000000000    # arch/x86/machine/paging.h; the first VM's
STACK_SIZE, STACK_EVER_USED = 0x4000, 0x1000
PANIC = r'\[lintel\] [^\r\n]*panic: '


@pytest.fixture
def watched(emulator):
    """watched(conf, debug=image with symbols, **options of `emulator`) -> a machine, stopped, and its Stub."""
    stubs = []

    def start(conf, debug=BUILD / 'lintel.debug', **options):
        stub = Stub(debug)
        stubs.append(stub)
        words = options.pop('qemu_arg', []) + stub.arguments
        machine = emulator(conf, qemu_arg=words, **{'memory': MEMORY, **options})
        stub.connect(machine)
        return machine, stub

    yield start
    for stub in stubs:
        stub.close()


def expect_death(machine, sentence, place):
    """The report, the panic as the very last line, and the status of tools/emulate. Returns the report."""
    machine.expect(r'\[lintel\] panic: [^\r\n]*\r\n')
    assert machine.wait() == 1
    output = machine.output.replace('\r', '')
    last = output.rstrip('\n').rsplit('\n', 1)[-1]
    assert re.fullmatch(r'\[lintel\] panic: %s \(CPU 0%s\)' % (sentence, place), last), output[-3000:]
    return output


def check_report(output, *steps):
    """Registers, and the back trace with these functions in this order."""
    for register in ('rax', 'rsp', 'r15', 'rip', 'cr2', 'cr3'):
        assert re.search(r'\[lintel\] .* %s +[0-9a-f]{16}' % register, output), output[-3000:]
    trace = re.findall(r'^\[lintel\] [ .0-9]*(?:at|by) [0-9a-f]{16} ([^\n]*)', output, re.M)
    found = [re.split(r'[+.]', step)[0] for step in trace]
    assert [step for step in found if step in steps] == list(steps), trace


def test_an_exception_while_a_vm_is_served(watched):
    machine, lintel = watched({'vm web': TINY})
    lintel.run_to('policy_cpuid')
    # A call of something that is data, out of a function that keeps a frame.
    lintel.write(lintel.get('rip'), b'\x55\x48\x89\xe5\xff\xd0')    # push rbp; mov rbp, rsp; call rax
    lintel.set(rax=lintel.symbols['sched_cpus'])
    lintel.go()
    output = expect_death(machine, r"page fault: executing %016x, its page does not allow that, "
                          r"at an address outside lintel's text" % lintel.symbols['sched_cpus'],
                          ', serving VM web, vCPU 0')
    check_report(output, 'svm_handle_exit', 'svm_enter_guest', 'sched_loop', 'high_entry')
    assert re.search(r'  on top of the stack [0-9a-f]{16} policy_cpuid\+0x6', output)


def test_an_exception_in_a_light_exit(watched):
    """Registers of the guest are in the CPU there; the back trace leads past them."""
    machine, lintel = watched({'vm web': TINY})
    lintel.run_to('policy_cpuid_light')
    lintel.write(lintel.get('rip'), b'\x31\xc9\xf7\xf1')    # xor ecx, ecx; div ecx
    lintel.go()
    output = expect_death(machine, r'divide error \(exception 0\), error code 0, at policy_cpuid_light\+0x2',
                          ', serving VM web, vCPU 0')
    check_report(output, 'policy_cpuid_light', 'sched_loop', 'high_entry')


def test_an_exception_outside_any_vm(watched):
    machine, lintel = watched({'vm web': TINY})
    lintel.run_to('sched_loop')
    lintel.write(lintel.get('rip'), b'\x31\xc9\xf7\xf1')    # xor ecx, ecx; div ecx
    lintel.go()
    output = expect_death(machine, r'divide error \(exception 0\), error code 0, at sched_loop\+0x2', '')
    check_report(output, 'sched_loop', 'high_entry')
    assert re.search(r'  code f7 f1', output)


def test_a_stack_that_overflows(watched):
    """Between VMs the double fault has a stack of its own and tells."""
    machine, lintel = watched({'vm web': TINY})
    lintel.run_to('sched_loop')
    lintel.write(lintel.get('rip'), b'\x50' * 4)    # push rax
    lintel.set(rsp=lintel.symbols['boot_stack'] + 16)
    lintel.go()
    expect_death(machine, r'double fault: the stack has overflown, rsp %016x, at sched_loop\+0x2'
                 % lintel.symbols['boot_stack'], '')


def test_a_stack_that_overflows_while_a_vm_is_served(watched):
    """TR is the guest's then: a triple fault, which tools/emulate at least does not take for a good end."""
    machine, lintel = watched({'vm web': TINY})
    lintel.run_to('policy_cpuid')
    lintel.write(lintel.get('rip'), b'\x50' * 4)
    lintel.set(rsp=lintel.symbols['boot_stack'] + 16)
    lintel.go()
    assert machine.wait() == 1
    assert 'without a last word of lintel' in machine.output and not re.search(PANIC, machine.output)


def test_a_machine_check(watched):
    machine, lintel = watched({'vm web': SPIN})
    lintel.run_to('svm_enter_guest')
    lintel.monitor('mce 0 1 0xb200000000070f0f 0x5 0 0')
    lintel.go()
    output = expect_death(machine, r'machine check \(exception 18\), error code 0, at svm_enter_guest\S*',
                          ', serving VM web, vCPU 0')
    assert re.search(r'  bank 1: status b200000000070f0f, address 0{16}\n', output)


# ---------------------------------------------------------------- exceptions that the machine survives, by our help

WRITE, READ, DIVIDE = b'\xc6\x00\x00', b'\x8a\x00', b'\x31\xc9\xf7\xf1'    # mov byte [rax], 0; mov al, [rax]
PF_WRITE_DENIED, PF_WRITE_MISSING, PF_FETCH_DENIED, PF_FETCH_MISSING, PF_READ_MISSING = 3, 2, 0x11, 0x10, 0


def alias(address):
    return address - IMAGE_BASE + DIRECT_MAP_BASE


def injections(symbols):
    """name, code at RIP, RAX, vector, error code, CR2 when the vector is #PF."""
    text, rodata, data = symbols['text_start'], symbols['rodata_start'], symbols['sched_cpus']
    stray = 0x0123456789abcdef
    denied = [('text', text), ('the alias of text', alias(text)), ('read-only data', rodata),
              ('the alias of read-only data', alias(rodata)), ('the multiboot2 header', alias(IMAGE_BASE + 0x200000))]
    missing = [('physical 2 MiB', 0x200000), ('nothing', 0), ('the guard page', symbols['boot_stack_guard']),
               ('the guard of the double fault stack', symbols['boot_double_fault_stack'])]
    jump = b'\xff\xe0'    # jmp rax
    fetches = [('data', data, PF_FETCH_DENIED), ('the alias of text', alias(text), PF_FETCH_DENIED),
               ('read-only data', rodata, PF_FETCH_DENIED), ('nothing', 0, PF_FETCH_MISSING),
               ('the code before paging', 0x200000, PF_FETCH_MISSING)]
    return ([('write to ' + name, WRITE, at, 14, PF_WRITE_DENIED, at) for name, at in denied] +
            [('write to ' + name, WRITE, at, 14, PF_WRITE_MISSING, at) for name, at in missing] +
            [('execute ' + name, jump, at, 14, error, at) for name, at, error in fetches] +
            [('read nothing', READ, 0, 14, PF_READ_MISSING, 0),
             ('read by a stray pointer', READ, stray, 13, 0, None),
             ('jump to a stray pointer', jump, stray, 13, 0, None),
             ('divide by 0', DIVIDE, 0, 0, 0, None), ('breakpoint', b'\xcc', 0, 3, 0, None),
             ('undefined opcode', b'\x0f\x0b', 0, 6, 0, None), ('no segment', b'\x8e\xd8', 0x70, 13, 0x70, None)])


def exceptions_reported(lintel, state):
    """Each injection arrives at exception_report with the right frame; the interrupted state is put back after each."""
    rip, wrong = lintel.get('rip'), []
    code = lintel.read(rip, 16)
    for name, bytes_, rax, vector, error, address in injections(lintel.symbols):
        lintel.write(rip, bytes_)
        lintel.set(rax=rax, cr2=2 ** 64 - 1)
        lintel.run_to('exception_report')
        frame = struct.unpack('<22Q', lintel.read(lintel.get('rdi'), 22 * 8))
        seen = frame[15], frame[16], lintel.get('cr2') if vector == 14 else None
        if seen != (vector, error, address):
            wrong.append((name, seen))
        lintel.write(rip, code)
        lintel.restore(state)
    return wrong


def nmis(lintel):
    return int.from_bytes(lintel.read_physical(lintel.symbols['exception_nmis'] - IMAGE_BASE, 8), 'little')


def nmi_is_counted(lintel):
    """With the machine as it stands now; it is stopped again a little later."""
    before = nmis(lintel)
    lintel.monitor('nmi')
    give_up = time.monotonic() + PATIENCE
    while nmis(lintel) == before:
        assert time.monotonic() < give_up
        lintel.go()
        time.sleep(0.1)
        lintel.stop()
    assert nmis(lintel) == before + 1


def stack_used(lintel):
    """How deep the boot CPU's stack has ever been: it was all zeros at first."""
    stack = lintel.read_physical(lintel.symbols['boot_stack'] - IMAGE_BASE, STACK_SIZE)
    return len(stack.lstrip(b'\0'))


def test_many_exceptions_and_nmis_in_one_life(watched):
    machine, lintel = watched({'vm tiny': TINY, 'vm spin': SPIN, 'vm ports': {**SPIN, 'kernel': 'ports.elf'},
                               'vm mmio': {**SPIN, 'kernel': 'mmio.elf'}}, memory='512M')
    lintel.run_to('policy_cpuid')
    state = lintel.save()
    wrong = exceptions_reported(lintel, state)
    assert not wrong, wrong
    # An NMI in the middle of an exit, while a vCPU's TR is loaded.
    before = nmis(lintel)
    lintel.monitor('nmi')
    lintel.run_to('policy_cpuid')
    assert nmis(lintel) == before + 1
    lintel.go()
    for vm in 'tiny', 'ports', 'mmio':
        machine.expect('VM (tiny|ports|mmio): has powered itself off')
    lintel.stop()
    lintel.stop_when(lambda rip: rip < IMAGE_BASE, 'in the guest')
    nmi_is_counted(lintel)
    used = stack_used(lintel)
    assert 0 < used < STACK_EVER_USED, 'lintel used %d of the %d bytes of its stack' % (used, STACK_SIZE)
    lintel.go()
    to_monitor(machine)
    assert re.search(r'[1-9]  physical nmi', run_in_monitor(machine, 'stats spin'))
    machine.sendline('vm stop spin')
    machine.expect('No VM runs any more: ')
    lintel.stop()
    lintel.stop_when(lambda rip: lintel.get('eflags') & 0x200, 'idle')
    nmi_is_counted(lintel)
    lintel.go()
    assert shut_down(machine) == 0


# ---------------------------------------------------------------- W^X

def test_the_walk_of_the_tables_finds_what_is_wrong(watched):
    """A leaf changed just before the walk: each time a panic with its own sentence; the last one is let happen."""
    machine, lintel = watched({'vm web': TINY})
    lintel.run_to('paging_verify')
    state = lintel.save()
    text, data = lintel.symbols['text_start'], lintel.symbols['sched_cpus']
    for address, set_, cleared, format_ in [
            (text, PTE_WRITE, 0, 'is both writable and executable'),
            (data, 0, PTE_NX, 'is both writable and executable'),
            (alias(text), PTE_WRITE, 0, 'which is executable at'),
            (alias(text), 0, PTE_NX, None),
            (text, 4, 0, 'is mapped for user mode')]:
        at, entry = lintel.entry_of(address)
        lintel.write(at, struct.pack('<Q', (entry | set_) & ~cleared))
        if format_ is None:
            continue    # executable twice, writable nowhere: no breach
        lintel.run_to('panic_at')
        said = lintel.read(lintel.get('rdx'), 80).split(b'\0')[0].decode()
        assert format_ in said, said
        lintel.write(at, struct.pack('<Q', entry))
        lintel.restore(state)
    at, entry = lintel.entry_of(text)
    lintel.write(at, struct.pack('<Q', entry | PTE_WRITE))
    lintel.go()
    output = expect_death(machine, r'arch/x86/machine/paging_walk.c:\d+: %016x \(physical %x\) is both writable and '
                          'executable' % (text, entry & PTE_ADDRESS), '')
    assert 'own page tables are on' not in output


# ---------------------------------------------------------------- the debug build

# What clean bits cover (APM 2, 15.15.3): name, offset in the VMCB (appendix B).
CACHED_FIELDS = [
    ('intercept_cr', 0x0), ('intercept_exceptions', 0x8), ('intercept1', 0xc), ('intercept2', 0x10),
    ('pause_threshold', 0x3c), ('pause_count', 0x3e), ('iopm', 0x40), ('msrpm', 0x48), ('tsc_offset', 0x50),
    ('asid', 0x58), ('v_intr', 0x60), ('nested_enable', 0x90), ('nested_cr3', 0xb0), ('es', 0x400), ('cs', 0x410),
    ('ss', 0x420), ('ds', 0x430), ('gdtr', 0x460), ('idtr', 0x480), ('cpl', 0x4cb), ('efer', 0x4d0), ('cr4', 0x548),
    ('cr3', 0x550), ('cr0', 0x558), ('dr7', 0x560), ('dr6', 0x568), ('cr2', 0x640), ('pat', 0x668)]


def test_debug_build_names_each_field_that_changes_under_its_clean_bit(watched, debug_build):
    machine, lintel = watched({'vm web': TINY}, debug=debug_build / 'lintel.debug', lintel=debug_build / 'lintel.elf')
    lintel.run_to('svm_enter_guest')
    vmcb = DIRECT_MAP_BASE + lintel.get('rsi')
    lintel.run_to('policy_cpuid')    # its exit has set all clean bits
    state = lintel.save()
    for name, offset in CACHED_FIELDS:
        byte = lintel.read(vmcb + offset, 1)
        lintel.write(vmcb + offset, bytes([byte[0] ^ 1]))
        assert lintel.run_to('panic_at', 'svm_enter_guest') == 'panic_at', name
        said = lintel.read(lintel.get('rdx'), 80).split(b'\0')[0].decode()
        assert said == 'VMCB field %s changed under a set clean bit' % name
        lintel.write(vmcb + offset, byte)
        lintel.restore(state)
    lintel.write(vmcb + offset, bytes([byte[0] ^ 1]))
    lintel.go()
    expect_death(machine, r'arch/x86/svm/clean.c:\d+: VMCB field pat changed under a set clean bit',
                 ', serving VM web, vCPU 0')


def test_debug_build_proves_memory_far_from_an_operation(watched, debug_build):
    """While the guest touches a page above 4 MiB, its list names a frame of lintel's for its page 0x100: no later operation
    but this one tells."""
    machine, lintel = watched({'vm web': {'kernel': 'memory.elf', 'memory': '64M'}}, debug=debug_build / 'lintel.debug',
                              lintel=debug_build / 'lintel.elf')
    touched = 0
    while touched < 4 << 20:
        lintel.run_to('exit_nested_fault')
        lintel.run_to('guest_memory_give')
        touched = lintel.get('rsi')
    lintel.write(P2M_WINDOW_BASE + 0x100 * 8, struct.pack('<Q', lintel.symbols['sched_cpus'] - IMAGE_BASE >> 12))
    lintel.go()
    output = expect_death(machine, r'hv/memory/memory_audit.c:\d+: the memory of VM 0: guest frame 0x100 has machine frame '
                          r'0x[0-9a-f]+, which owner \d+ has', ', serving VM web, vCPU 0')
    assert re.search(r'(?s) by [0-9a-f]{16} guest_memory_give.* by [0-9a-f]{16} exit_nested_fault', output), output[-3000:]


def test_debug_build_boots_debian(emulator, debug_build):
    machine = emulator({'vm debian': debian_keys(), 'vm tiny': TINY}, lintel=debug_build / 'lintel.elf')
    machine.expect(INIT_REACHED)
    machine.expect(PROMPT)
    assert 'Linux' in run_in_guest(machine, 'uname')
    machine.sendline('poweroff -f')
    assert machine.wait() == 0


# ---------------------------------------------------------------- too little memory

DOES_NOT_FIT = r'VM %s: memory = %dM does not fit: the machine has \d+M left that is not promised'


@pytest.mark.parametrize('memory, fits', [('64M', 0), ('96M', 1), ('192M', 2)])
def test_vms_that_do_not_fit(memory, fits, emulator):
    """Those that fit run, each other one is a sentence, at every attempt; the monitor stays."""
    conf = {'vm big': {**TINY, 'memory': '512M'}, 'vm one': SPIN, 'vm two': {**SPIN, 'prefault': 'yes'},
            'vm three': SPIN}
    running, absent = ['one', 'two', 'three'][:fits], ['one', 'two', 'three'][fits:]
    machine = emulator(conf, memory=memory)
    machine.expect(r'\[lintel\] [^\r\n]*ready: [^\r\n]*\r\n')
    if fits:
        machine.expect('spinning')
        to_monitor(machine)
    table = run_in_monitor(machine, 'vm list')
    for name in running:
        assert re.search(r'^%s +running' % name, table, re.M), table
    for name, size in [('big', 512)] + [(name, 64) for name in absent]:
        sentence = DOES_NOT_FIT % (name, size)
        assert len(re.findall(sentence, machine.output)) == 1, machine.output
        assert re.search(r'^%s +absent' % name, table, re.M), table
        assert re.search(sentence, run_in_monitor(machine, 'vm start ' + name))
    # What one gives back is there for the next.
    if fits == 1:
        run_in_monitor(machine, 'vm stop one')
        machine.sendline('vm start two')
        machine.expect('VM two runs;')
        machine.expect(MONITOR_PROMPT)
    assert shut_down(machine) == 0

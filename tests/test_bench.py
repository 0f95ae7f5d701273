# SPDX-License-Identifier: MIT
"""The figures of `make bench --quick` stay within the project's goals: counts of instructions, the same on every machine."""
import json
import re
import subprocess

from support import BUILD, ROOT

# Not above: the project's goals, or a little more than was measured where that is far below them.
GOALS = {'cpuid': 145, 'hypercall': 140, 'rdmsr': 145, 'pio_in': 120, 'mmio_read': 660, 'npf_fresh_page': 900,
         'npf_fresh_page_large': 3, 'hypercall_first_foreign': 900, 'lapic_eoi': 240, 'lapic_timer_set': 230,
         'own_start': 30_000_000, 'image_text': 224 * 1024, 'ram_hypervisor': 5_800_000, 'p2m_lookup': 5,
         'p2m_dense_gib': 2**30 // 400, 'p2m_empty_tib': 64 * 1024}
GOALS.update({'balloon_lock_4k': 1500, 'balloon_unlock_4k': 1500, 'balloon_lock_2m': 10_000, 'balloon_longest_exit': 1_000_000})
GOALS.update({'disk_read_4k_random': 4800, 'disk_read_64k_sequential': 15600, 'media_poll': 3750, 'disk_exits_depth_1': 2,
              'disk_exits_depth_32': 0.07, 'idle_drives': 0, 'media_poll_host': 2400, 'ide_look_longest': 40_000})
GOALS.update({engine + ': ' + name: goal for engine in ('VMX haswell', 'SVM ryzen')
              for name, goal in (('cpuid', 90), ('hypercall', 90), ('rdmsr', 90), ('hypercall_first_foreign', 900))})
# Not above CPUID's own minimum: neither other VMs nor other CPUs add to an exit.
SAME = ['cpuid_8_vms', 'cpuid_32_vms', 'cpuid_8_cpus']
REPORTED = ['ipi_round_trip', 'kick', 'cpu_on', 'tlb_shootdown_8', 'vm_switch']


def test_figures_keep_to_their_goals(tmp_path):
    output = tmp_path / 'bench.json'
    done = subprocess.run([ROOT / 'tests/bench/run-bench', '--quick', '-o', output], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout
    figures = json.loads(output.read_text())
    above = {name: figures[name]['median'] for name, goal in GOALS.items()
             if figures[name]['median'] > goal}
    above.update({name: figures[name]['min'] for name in SAME if figures[name]['min'] > figures['cpuid']['min']})
    assert not above, done.stdout
    assert all(figures[name]['median'] > 0 for name in REPORTED), done.stdout
    assert figures['p2m_lookup']['median'] * 2 <= min(figures[walk]['median'] for walk in ('p2m_tree_walk', 'p2m_nested_walk'))


def test_a_lookup_is_one_comparison_and_one_load_of_the_list():
    """The instructions themselves: beside the entry only the address of the list comes from memory."""
    text = subprocess.run(['objdump', '-d', '--no-show-raw-insn', '--disassemble=bench_lookup', BUILD / 'bench/p2m'],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    code = re.findall(r'^ +[0-9a-f]+:\t(\w+) *(.*?) *$', text[text.index('<bench_lookup>:'):], re.M)
    assert code, text
    loads = [operands for operation, operands in code if '(' in operands and operation != 'lea']
    jumps = [operation for operation, _ in code if operation[0] == 'j' and operation != 'jmp']
    assert len(jumps) == 1, text
    assert len(loads) == 2 and re.fullmatch(r'\(%rdi\),%r\w+', loads[0]), text
    assert re.fullmatch(r'\(%r\w+,%r\w+,8\),%r\w+', loads[1]), text

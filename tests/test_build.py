# SPDX-License-Identifier: MIT
"""What the build promises: the same bytes wherever and whenever, both compilers, floors that are kept."""
import os
import shutil
import subprocess

import pytest
from support import BUILD, ROOT, SCALE

TREE = ['Makefile', 'linker.ld', 'tools', 'boot', 'arch', 'hv', 'guest', 'drivers']


def copy_tree(folder):
    folder.mkdir()
    for name in TREE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


def make(folder, *arguments):
    """Run make in a folder; the packages and the font that this tree already has serve it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(('MAKE', 'MFLAGS'))}
    done = subprocess.run(['make', '-j2', 'SHARED=%s' % (ROOT / 'build'), 'BUILD=build', *arguments], cwd=folder,
                          env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=600 * SCALE)
    assert done.returncode == 0, done.stdout.decode(errors='replace')[-4000:]
    return done.stdout.decode()


@pytest.mark.skipif(BUILD != ROOT / 'build', reason='compares with the plain build of gcc')
def test_the_same_bytes_in_another_folder_and_nothing_to_do_again(tmp_path):
    folder = copy_tree(tmp_path / 'elsewhere')
    make(folder)
    built = (folder / 'build/lintel.elf').read_bytes()
    assert built == (BUILD / 'lintel.elf').read_bytes()
    assert os.fsencode(tmp_path) not in built
    again = make(folder)
    assert 'LD' not in again and 'CC' not in again
    (folder / 'drivers/font.h').touch()
    assert 'font.o' in make(folder)


def test_clang_builds_it_too(tmp_path):
    make(copy_tree(tmp_path / 'elsewhere'), 'CC=clang')


def test_the_debug_build(debug_build):
    assert (debug_build / 'lintel.elf').is_file()


def check_floors(folder):
    return subprocess.run([ROOT / 'tools/check-floors'], cwd=folder, capture_output=True, text=True)


def test_the_floors_are_kept():
    done = check_floors(ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('path, line, sentence', [
    ('hv/lib/planted.c', '#include "hv/run/vm.h"', 'hv/lib may not lean on hv/run/vm.h'),
    ('hv/run/planted.c', '#include "arch/x86/svm/vmcb.h"', 'hv/run may not lean on arch/x86/svm/vmcb.h'),
    ('guest/devices/planted.c', '#include "drivers/serial.h"', 'guest may not lean on drivers/serial.h'),
    ('arch/x86/svm/planted.c', '#include "arch/x86/vmx/vmcs.h"', 'may not lean on arch/x86/vmx/vmcs.h'),
    ('hv/lib/planted.c', '#include <stdio.h>', '<stdio.h> is not there without an operating system'),
    ('hv/run/planted.c', 'int vmcb_size;', 'vmcb_size is a word of arch/x86/svm'),
])
def test_a_planted_breach_of_the_floors_is_seen(path, line, sentence, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(line + '\n')
    done = check_floors(tmp_path)
    assert done.returncode == 1 and sentence in done.stderr


ENGINES_ALIKE = {
    'arch/x86/svm/run.c': ['void svm_inject(void)', 'static bool helper(int a,\n                   int b)',
                           'void svm_run(void)'],
    'arch/x86/vmx/run.c': ['void vmx_inject(void)', 'static void vmx_alone(void)',
                           'static __attribute__((noinline)) bool helper(void)', 'void vmx_run(void)'],
}


@pytest.mark.parametrize('moved, sentence', [
    ({}, None),
    ({'arch/x86/vmx/run.c': ['void vmx_run(void)', 'static bool helper(void)', 'void vmx_inject(void)']},
     'arch/x86/svm/run.c: inject stands where arch/x86/vmx/run.c has run'),
    ({'arch/x86/vmx/run.c': ['static bool helper(void)', 'void vmx_inject(void)', 'void vmx_run(void)']},
     'arch/x86/svm/run.c: inject stands where arch/x86/vmx/run.c has helper'),
    ({'arch/x86/vmx/run.c': ['void vmx_inject(void)'], 'arch/x86/vmx/other.c': ['void vmx_run(void)']},
     'svm_run stands in run.c, vmx_run in other.c'),
])
def test_both_engines_have_one_order(moved, sentence, tmp_path):
    for path, functions in {**ENGINES_ALIKE, **moved}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(''.join('%s\n{\n}\n\n' % one for one in functions))
    done = check_floors(tmp_path)
    assert done.returncode == (1 if sentence else 0), done.stderr
    assert not sentence or sentence in done.stderr


@pytest.mark.parametrize('compiler, options', [
    ('gcc', ['-m64', '-mno-red-zone', '-mcmodel=kernel', '-fno-pie']), ('gcc', ['-m32']), ('clang', ['-m64']),
], ids=['gcc-64', 'gcc-32', 'clang-64'])
def test_kernels_of_any_kind_can_link_the_library(compiler, options, tmp_path):
    """guest/pv is a kernel's own: plain C, no header but the freestanding ones, no function but its own."""
    program = tmp_path / 'lintel.o'
    subprocess.run([compiler, '-std=c99', '-pedantic', '-ffreestanding', '-O2', '-Wall', '-Wextra', '-Werror',
                    '-fno-stack-protector', *options, '-iquote', ROOT, '-c', ROOT / 'guest/pv/lintel.c', '-o', program],
                   check=True)
    listed = subprocess.run(['nm', program], check=True, capture_output=True, text=True).stdout
    unknown = [line.split()[-1] for line in listed.splitlines() if line.split()[-2] == 'U']
    assert [name for name in unknown if name != '_GLOBAL_OFFSET_TABLE_'] == []

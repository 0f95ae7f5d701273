# SPDX-License-Identifier: MIT
"""Runs each host unit test that the build made out of tests/unit/test_*.c (cmocka; ASan and UBSan end it on a fault)."""
import os
import subprocess

import pytest
from support import BUILD, ROOT, SCALE

TESTS = sorted((ROOT / 'tests/unit').glob('test_*.c'))


@pytest.mark.parametrize('source', TESTS, ids=[path.stem for path in TESTS])
def test_unit(source):
    program = BUILD / 'unit' / source.stem
    environment = dict(os.environ, ASAN_OPTIONS='detect_leaks=1:abort_on_error=0', UBSAN_OPTIONS='print_stacktrace=1')
    done = subprocess.run([program], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120 * SCALE)
    if done.returncode:
        pytest.fail('%s ended with %d:\n%s' % (source.name, done.returncode, done.stdout.decode(errors='replace')),
                    pytrace=False)

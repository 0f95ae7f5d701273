# SPDX-License-Identifier: MIT
"""What guests are promised of their clocks: the stable bit stands in kvm-clock's pages exactly where CPUs agree about time."""
import re
import struct

import pytest
from test_faults import watched  # noqa: F401: a fixture
from tiny_guests import guest, judge_tap


@pytest.mark.parametrize('ticks, said', [(0, 'set, and 4 pages say the same'), (1, 'clear')], ids=['agree', 'disagree'])
def test_the_stable_bit(ticks, said, watched):  # noqa: F811
    """The emulator has one counter for all CPUs: what lintel has measured of CPU 1's is changed by a debugger."""
    machine, lintel = watched({'vm clock': guest('smp_clock')}, cpus=2)
    lintel.run_to('tsc_offset_synchronised')
    lintel.write(lintel.get('rdi'), struct.pack('<qQ', ticks, 0))    # struct tsc_offset: behind by, to within
    lintel.go()
    assert machine.wait() == 0
    output = machine.output.replace('\r', '')
    judge_tap(output)
    assert re.search(r'^ok [0-9]+ the stable bit is ' + said, output, re.M), output[-2000:]
    assert ('CPU 1: its time stamp counter is %d ticks behind' % ticks in output) == (ticks != 0), output

# SPDX-License-Identifier: MIT
"""Each tiny guest of tests/guests on each pair of engine and emulator, judged by the TAP lines on its console.

On QEMU each boots alone. Bochs needs seconds to boot, so there many of them are VMs of one boot. Those with several vCPUs
run once more on two CPUs, all at once.
"""
import pytest
from support import Machine, emulate_command, pack_iso
from tiny_guests import CANT, GUESTS, PAIRS, SMP_GUESTS, guest, judge_guest, run_all, skip_cant, vm_name

PATIENCE_S = 300    # a guest alone needs about three seconds
BOCHS_PAIRS = [pair for pair in PAIRS if pair.endswith('-bochs')]


@pytest.mark.parametrize('name', GUESTS)
def test_guest_alone(name, emulator):
    machine = emulator({'vm ' + vm_name(name): guest(name)}, **PAIRS['svm-qemu'])
    status = machine.wait(PATIENCE_S)
    output = machine.output.replace('\r', '')
    judge_guest(output, 'svm-qemu', name)
    assert status == 0, 'the guest passed, but the machine ended with %s:\n%s' % (status, output[-4000:])


@pytest.fixture(scope='module')
def consoles(tmp_path_factory):
    """consoles(pair, guests, **options of tools/emulate) -> name -> console; each pair and number of CPUs is booted once."""
    known = {}

    def run(pair, guests, options):
        machines = []

        def start(vms):
            iso = pack_iso(tmp_path_factory.mktemp(pair), vms)
            machines.append(Machine(emulate_command(iso, **PAIRS[pair], **options)))
            return machines[-1]

        try:
            return run_all(start, pair, guests=guests)
        except BaseException as error:
            return error
        finally:
            for machine in machines:
                machine.end()

    def get(pair, guests=GUESTS, **options):
        key = (pair, *options.items())
        if key not in known:
            known[key] = run(pair, guests, options)
        if isinstance(known[key], BaseException):
            raise known[key]
        return known[key]

    return get


# One worker has all that is judged of the same boots.
@pytest.mark.parametrize('name', GUESTS)
@pytest.mark.parametrize('pair', [pytest.param(pair, marks=pytest.mark.xdist_group(pair)) for pair in BOCHS_PAIRS])
def test_guest(pair, name, consoles):
    skip_cant(pair, name)
    judge_guest(consoles(pair)[name], pair, name)


@pytest.mark.parametrize('name', SMP_GUESTS)
@pytest.mark.parametrize('pair', [pytest.param(pair, marks=pytest.mark.xdist_group(pair + '-2')) for pair in PAIRS])
def test_guest_on_two_cpus(pair, name, consoles):
    skip_cant(pair, name)
    judge_guest(consoles(pair, SMP_GUESTS, cpus=2)[name], pair, name)


@pytest.mark.parametrize('pair, name, point, why', CANT, ids=['-'.join(row[:2]) for row in CANT])
def test_what_an_emulator_cannot_do(pair, name, point, why):
    """Nothing is run: these rows are there to be seen. The same runs on the other pairs."""
    pytest.skip("can't: %s on %s%s: %s" % (name, pair, ', "%s"' % point if point else '', why))

import conformance
import pytest
from conformance import Bench

from tasks.hands import get_hand
from tasks.simulators.mujoco import MujocoSimulator


def launch(sim, v): ...
def make(objects, n):
    return MujocoSimulator(get_hand("shadow"), objects, n)


@pytest.mark.parametrize("check", conformance.CONFORMANCE, ids=lambda check: check.__name__)
def test_contract(check):
    check(Bench(make))

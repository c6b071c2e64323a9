import conformance
import pytest
import torch
from conformance import Bench

from tasks.hands import get_hand
from tasks.simulators.mujoco_warp import MujocoWarpSimulator


def launch(sim, v): ...
def make(objects, n):
    return MujocoWarpSimulator(get_hand("shadow"), objects, n, torch.device("cpu"))


@pytest.mark.parametrize("check", conformance.CONFORMANCE, ids=lambda check: check.__name__)
def test_contract(check):
    check(Bench(make))

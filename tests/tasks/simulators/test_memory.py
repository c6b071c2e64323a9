"""What a training needs is said before it is asked for, and what cannot fit is refused."""

from __future__ import annotations

import re

import pytest

from tasks.commands.train import overflow
from tasks.simulators import memory, registry


def test_the_forecast_is_what_was_measured() -> None:
    for hands, measured in ((4096, 2.9), (16384, 6.1)):
        line = memory.forecast(hands, 512, True, 1, 80e9)
        found = re.fullmatch(r"([\d,]+) hands need about (\S+) GB, 80.0 GB free: up to ([\d,]+) would fit", line)
        assert found, line
        assert float(found.group(2)) == pytest.approx(measured, rel=0.05)
    most = int(found.group(3).replace(",", ""))
    assert memory.GPU[0] + memory.GPU[1] * (most + 512) < 80e9 < memory.GPU[0] + memory.GPU[1] * (1.15 * most + 512)


def test_what_cannot_fit_is_refused_with_what_would() -> None:
    with pytest.raises(ValueError, match=r"--num-envs 100000000: .* 24.0 GB free: up to 85,000 would fit"):
        memory.forecast(10**8, 512, True, 1, 24e9)
    with pytest.raises(ValueError, match="none fit with these --eval-envs"):
        memory.forecast(64, 10**8, False, 2, 24e9)


def test_a_system_that_does_not_tell_is_no_error() -> None:
    assert memory.forecast(64, 4, False, 1, None).endswith("GB")
    free = memory.free_bytes(on_gpu=False)
    assert free is None or free > 1e8


def test_the_message_of_an_overflow_names_the_option() -> None:
    warp, row = registry.get("mujoco_warp"), {"diagnostics_contact_overflow_worlds": 3.0}
    assert overflow(row, warp).endswith("in 3 worlds: raise --physics.buffers")
    assert overflow({"eval_contact_overflow_worlds": 0.0}, warp) == ""

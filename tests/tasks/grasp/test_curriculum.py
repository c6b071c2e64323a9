"""Which objects episodes get: by kind over time, and by success."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tasks.grasp.curriculum import CURRICULA, KIND_EVERY, ObjectCurriculum

KIND = torch.tensor([0, 1, 1, 2, 2, 2, 2, 3])
CPU = torch.device("cpu")


def make(mode: str) -> ObjectCurriculum:
    return ObjectCurriculum(mode, KIND, 4, CPU)


def by_kind(probabilities: Tensor) -> Tensor:
    return torch.zeros(4).scatter_add(0, KIND, probabilities)


def steps(count: float) -> Tensor:
    return torch.tensor(int(count))


@pytest.mark.parametrize("mode", CURRICULA)
def test_probabilities_sum_to_one(mode: str) -> None:
    curriculum = make(mode)
    curriculum.success.copy_(torch.rand(len(KIND), generator=torch.Generator().manual_seed(0)))
    for count in (0, 1e6, 1.5e7, 1e9):
        p = curriculum.probabilities(steps(count))
        assert p.shape == KIND.shape and (p >= 0).all()
        assert p.sum().item() == pytest.approx(1, abs=1e-6)


def test_uniform_is_alike_for_kinds_and_within_them() -> None:
    p = make("uniform").probabilities(steps(0))
    torch.testing.assert_close(by_kind(p), torch.full((4,), 0.25))
    torch.testing.assert_close(p[3:7], torch.full((4,), 1 / 16))


@pytest.mark.parametrize(
    "count, kinds", [(0, 1), (9_999_999, 1), (10_000_000, 2), (19_999_999, 2), (20_000_000, 3), (3e7, 4), (1e9, 4)]
)
def test_recipe_adds_a_kind_every_ten_million_steps(count: float, kinds: int) -> None:
    assert KIND_EVERY == 10_000_000
    expected = torch.zeros(4)
    expected[:kinds] = 1 / kinds
    torch.testing.assert_close(by_kind(make("recipe").probabilities(steps(count))), expected)


@pytest.mark.parametrize("mode, count", [("uniform", 0), ("recipe", 1.2e7), ("adaptive", 0)])
def test_draws_follow_the_probabilities(mode: str, count: float) -> None:
    torch.manual_seed(0)
    curriculum = make(mode)
    curriculum.success.copy_(torch.linspace(0, 1, len(KIND)))
    n = 50_000
    p = curriculum.probabilities(steps(count))
    drawn = torch.bincount(curriculum.draw(n, steps(count)), minlength=len(KIND)).float()
    assert (drawn[p == 0] == 0).all()
    expected = n * p[p > 0]
    chi_square = ((drawn[p > 0] - expected) ** 2 / expected).sum().item()
    assert chi_square < 30, "of 7 degrees of freedom, once in ten thousand"


def test_draws_stay_in_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rand returns, its ends included."""
    curriculum = make("recipe")
    for value in (0.0, 1.0 - 2**-24, 1.0):
        monkeypatch.setattr(torch, "rand", lambda n, device, value=value: torch.full((n,), value))
        ids = curriculum.draw(3, steps(3e7))
        assert ids.dtype == torch.int64 and (ids >= 0).all() and (ids < len(KIND)).all()


def test_adaptive_prefers_what_fails() -> None:
    curriculum = make("adaptive")
    everything = torch.arange(len(KIND)).repeat(50)
    curriculum.report(everything, torch.ones_like(everything) > 0, everything % 2 == 0)
    assert (curriculum.success[0::2] > 0.95).all() and (curriculum.success[1::2] < 0.05).all()
    p = curriculum.probabilities(steps(0))
    assert p[1] > 3 * p[2] and p[3] > 3 * p[4], "of the same kind, the one that fails"
    assert (p > 0).all(), "none is forgotten"


def test_floor_is_how_often_what_never_fails_comes() -> None:
    for floor in (0.05, 0.25):
        curriculum = ObjectCurriculum("adaptive", KIND, 4, CPU, floor)
        curriculum.success.copy_(torch.tensor([1.0, 1, 0, 1, 1, 1, 1, 1]))
        p = curriculum.probabilities(steps(0))
        assert (p[1] / p[2]).item() == pytest.approx(floor / (1 + floor), rel=1e-5)


def test_report_averages_over_about_ten_episodes() -> None:
    curriculum = make("adaptive")
    two = torch.tensor([2, 2, 5])
    curriculum.report(two, torch.tensor([True, True, False]), torch.tensor([True, False, True]))
    expected = torch.full((len(KIND),), 0.5)
    expected[2] = 0.81 * 0.5 + 0.19 * 0.5
    torch.testing.assert_close(curriculum.success, expected)
    curriculum.report(torch.tensor([0]), torch.tensor([True]), torch.tensor([True]))
    assert curriculum.success[0].item() == pytest.approx(0.9 * 0.5 + 0.1)
    for _ in range(100):
        curriculum.report(torch.tensor([0]), torch.tensor([True]), torch.tensor([True]))
    assert curriculum.success[0].item() == pytest.approx(1.0, abs=1e-3)


def test_state_dict_round_trip() -> None:
    curriculum, other = make("adaptive"), make("adaptive")
    curriculum.report(torch.tensor([1, 3]), torch.tensor([True, True]), torch.tensor([True, False]))
    saved = {name: value.clone() for name, value in curriculum.state_dict().items()}
    address = other.success.data_ptr()
    other.load_state_dict(saved)
    assert torch.equal(other.success, curriculum.success)
    assert other.success.data_ptr() == address, "recorded graphs keep the pointer"
    smaller = ObjectCurriculum("adaptive", KIND[:3], 2, CPU)
    smaller.load_state_dict(saved)
    assert (smaller.success == 0.5).all(), "another set starts from nothing"


def test_unknown_mode_is_told() -> None:
    with pytest.raises(ValueError, match="adaptive"):
        make("hardest")

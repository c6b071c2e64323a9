"""The range of every option that is a number: one table, which checks, `--help` and the reading of checkpoints use."""

from __future__ import annotations

import math
import re
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union


class Range(NamedTuple):
    """The numbers from low to high."""

    low: float
    high: float
    without_low: bool
    """Whether low itself is outside."""
    without_high: bool

    @classmethod
    def parse(cls, interval: str) -> Range:
        """`[0, 1)` is from 0 to below 1.  Round brackets leave their end out.  Raises ValueError."""
        found = re.fullmatch(r"([\[(])(\S+), (\S+)([\])])", interval)
        if found is None:
            raise ValueError(f"{interval!r} is no interval")
        return cls(float(found.group(2)), float(found.group(3)), found.group(1) == "(", found.group(4) == ")")

    def wrong(self, value: float) -> Optional[str]:
        """What the value must be, as the end of a sentence; None if it is in the range."""
        if isinstance(value, float) and not math.isfinite(
            value
        ):  # whole numbers are finite, and may be too large for a float
            return "must be a finite number"
        if value < self.low or (self.without_low and value == self.low):
            return f"must be {'greater than' if self.without_low else 'at least'} {_text(self.low)}"
        if value > self.high or (self.without_high and value == self.high):
            return f"must be {'below' if self.without_high else 'at most'} {_text(self.high)}"
        return None

    def __str__(self) -> str:
        low = f"above {_text(self.low)}" if self.without_low else _text(self.low)
        return f"{low} to {'below ' if self.without_high else ''}{_text(self.high)}"


_COUNT = "[1, 1e15]"
"""Of environment steps."""
_OF_FACTOR = "(0, 100]"

_INTERVALS: Dict[str, Union[str, Tuple[str, ...]]] = {
    "--num-envs": "[1, 1e6]",
    "--object-count": "[1, 1e5]",
    "--object-scale": "(0, 1e6]",
    "--object-density": "(0, 1e5]",
    "--object-parts": "[1, 1000]",
    "--eval-envs": "[1, 1e6]",
    "--total-timesteps": _COUNT,
    "--max-minutes": "(0, 1e6]",
    "--eval-interval": _COUNT,
    "--checkpoint-interval": _COUNT,
    "--keep-every": _COUNT,
    "--video-every": _COUNT,
    "--seed": "[0, 1e15]",
    "--rank-timeout": "(0, 1e5]",
    # the task
    "--reward-weights": "[-1000, 1000]",
    "--curriculum-floor": "(0, 100]",
    "--episode-steps": "[1, 1e4]",
    "--lift-height": "(0, 1)",
    "--success-radius": "(0, 0.5]",
    "--hold-time": "(0, 1000]",
    "--still-speed": "(0, 100]",
    "--still-turn": "(0, 1000]",
    "--base-step": "(0, 1]",
    "--base-turn": "(0, 3.2]",
    "--base-slope": "[0, 1]",
    "--base-leash": "(0, 1]",
    "--turn-leash": "(0, 3.2]",
    "--base-reach": ("[0, 2]", "[0, 2]", "(0, 2]"),
    "--max-tilt": "[0, 3.2]",
    "--max-yaw": "[0, 3.2]",
    "--max-fingers-up": "[0, 3.2]",
    "--finger-smoothing": "[0, 1)",
    "--table-half-side": "(0, 10]",
    "--max-stray": "[0, 10]",
    "--reward-scale": "[-1000, 1000]",
    "--history": "[0, 100]",
    "--pose-filter": "[0, 1)",
    "--start.object-spread": "[0, 1]",
    "--start.clearance": "[0, 1]",
    "--start.min-height": "[0, 1]",
    "--start.pregrasp-fraction": "[0, 1]",
    "--start.pregrasp-clearance": "[0, 1]",
    "--start.pregrasp-spread": "[0, 1]",
    "--start.pregrasp-yaw": "[0, 3.2]",
    "--start.grasp-fraction": "[0, 1]",
    "--start.grasp-floor": "[0, 1]",
    "--start.mass-scale": "[1, 100]",
    "--start.friction-low": "(0, 10]",
    "--start.friction-high": "(0, 10]",
    "--random.joint-noise": "[0, 3.2]",
    "--random.joint-bias": "[0, 3.2]",
    "--random.joint-vel-noise": "[0, 1000]",
    "--random.object-noise": "[0, 1]",
    "--random.object-bias": "[0, 1]",
    "--random.object-turn-noise": "[0, 3.2]",
    "--random.object-turn-bias": "[0, 3.2]",
    "--random.tip-noise": "[0, 1]",
    "--random.tip-bias": "[0, 1]",
    "--random.force-noise": "[0, 1000]",
    "--random.force-bias": "[0, 1000]",
    "--random.bias-time": "(0, 1e4]",
    "--random.pose-every": "[1, 1000]",
    "--random.occlusion-rate": "[0, 1000]",
    "--random.occlusion-steps": "[1, 1e4]",
    "--random.action-delay": "[0, 100]",
    "--random.action-jitter": "[0, 100]",
    "--random.push": "[0, 1000]",
    "--random.push-time": "(0, 1e4]",
    "--random.mass": _OF_FACTOR,
    "--random.friction": "[0, 10]",
    "--random.stiffness": _OF_FACTOR,
    "--random.damping": _OF_FACTOR,
    "--random.torque-limit": _OF_FACTOR,
    "--random.com": "[0, 1]",
    "--random.size": "[0, 0.9]",
    "--random.table-height": "[0, 0.5]",
    "--random.joint-friction": "[0, 100]",
    "--random.widen-above": "[0, 1]",
    "--random.narrow-below": "[0, 1]",
    "--random.widen-increments": "[1, 1e6]",
    # the learner
    "--ppo.num-steps": "[1, 1e4]",
    "--ppo.num-epochs": "[1, 1000]",
    "--ppo.minibatch-size": "[1, 1e9]",
    "--ppo.learning-rate": "(0, 1]",
    "--ppo.min-learning-rate": "(0, 1]",
    "--ppo.max-learning-rate": "(0, 1]",
    "--ppo.anneal-from": "[0, 1]",
    "--ppo.desired-kl": "(0, 10]",
    "--ppo.max-kl": "(0, 1000]",
    "--ppo.gamma": "[0, 1]",
    "--ppo.lam": "[0, 1]",
    "--ppo.clip": "(0, 10]",
    "--ppo.entropy-coef": "[0, 10]",
    "--ppo.value-coef": "(0, 1000]",
    "--ppo.bound-coef": "[0, 100]",
    "--ppo.bound": "(0, 100]",
    "--ppo.smooth-coef": "[0, 100]",
    "--ppo.max-grad-norm": "(0, 1e6]",
    "--ppo.adam-eps": "(0, 1]",
    "--ppo.reward-clip": "(0, 1e6]",
    "--network.actor-hidden": "[1, 8192]",
    "--network.critic-hidden": "[1, 8192]",
    "--network.init-std": "(0, 10]",
    "--network.min-std": "(0, 10]",
    "--network.max-std": "(0, 10]",
    "--network.obs-clip": "(0, 1000]",
    # the simulators
    "--physics.timestep": "[0.0001, 0.05]",
    "--physics.substeps": "[1, 100]",
    "--physics.impratio": "(0, 1000]",
    "--physics.iterations": "[1, 1000]",
    "--physics.ls-iterations": "[1, 1000]",
    "--physics.solref": ("(0, 1]", "(0, 100]"),
    "--physics.solimp": ("(0, 1)", "(0, 1)", "(0, 1]", "(0, 1)", "[1, 100]"),
    "--physics.torsional-friction": "[0, 1]",
    "--physics.ccd-iterations": "[1, 1000]",
    "--physics.buffers": "(0, 1000]",
    "--physics.tolerance": "[0, 0.01]",
    "--physx.timestep": "[0.0001, 0.05]",
    "--physx.substeps": "[1, 100]",
    "--physx.position-iterations": "[1, 255]",
    "--physx.velocity-iterations": "[0, 255]",
    "--physx.contact-offset": "(0, 0.1]",
    "--physx.rest-offset": "[0, 0.1]",
    "--physx.bounce-threshold": "[0, 100]",
    "--physx.max-depenetration": "(0, 1e6]",
    "--physx.friction": "[0, 10]",
    "--physx.mass-scale": "[1, 100]",
    "--physx.coupling-frequency": "(0, 1e4]",
    "--physx.coupling-damping": "[0, 100]",
    "--physx.contacts-per-world": "[1, 1e6]",
    "--physx.max-speed": "(0, 1e6]",
    "--isaac-gym.sim-dt": "[0.0001, 0.05]",
    "--isaac-gym.control-dt": "[0.0001, 0.2]",
    "--isaac-gym.substeps": "[1, 100]",
    "--isaac-gym.position-iterations": "[1, 255]",
    "--isaac-gym.velocity-iterations": "[0, 255]",
    "--isaac-gym.contact-offset": "(0, 0.1]",
    "--isaac-gym.rest-offset": "[0, 0.1]",
    "--isaac-gym.bounce-threshold": "[0, 100]",
    "--isaac-gym.max-depenetration": "(0, 1e6]",
    "--isaac-gym.friction-offset-threshold": "(0, 1]",
    "--isaac-gym.friction-correlation-distance": "(0, 1]",
    "--isaac-gym.max-contact-pairs": "[1, 2147483647]",
    "--isaac-gym.buffer-multiplier": "(0, 1000]",
    "--isaac-gym.num-threads": "[1, 1024]",
    "--isaac-gym.env-spacing": "(0, 100]",
    "--isaac-gym.friction": "[0, 10]",
    "--isaac-gym.friction-levels": "[1, 64000]",
    "--isaac-gym.table-friction": "[0, 10]",
    "--isaac-gym.mass-scale": "[1, 100]",
    "--isaac-gym.tendon-stiffness": "[0, 1e6]",
    "--isaac-gym.tendon-damping": "[0, 1e6]",
    "--isaac-gym.max-speed": "(0, 1e6]",
    # other commands
    "--num-episodes": "[1, 1e7]",
    "--seeds": "[0, 1e15]",
    "--hands": "[1, 1000]",
    "--port": "[1, 65535]",
    "--jobs": "[1, 1000]",
    "--evaluate": "[1, 1e7]",
    "--buffers": "(0, 1000]",
    "--episodes": "[1, 1e6]",
    "--speed": "[0.01, 100]",
    "--arch": "[50, 999]",
    "--workers": "[1, 1024]",
    "--count": "[1, 1e5]",
}
"""Option -> its interval.  Of an option with several values either one interval for all or one for each."""

RANGES: Dict[str, Tuple[Range, ...]] = {
    option: tuple(Range.parse(one) for one in ((written,) if isinstance(written, str) else written))
    for option, written in _INTERVALS.items()
}


def shown(option: str) -> str:
    """The option's range for `--help`; empty if it is no number."""
    return ", ".join(map(str, RANGES.get(option, ())))


def check(option: str, value: Any) -> None:
    """Raises ValueError, `--option value: must be ...`, if a number of an option is outside its range.

    value: a number, or a list or table of them.  What is no number is not looked at.
    """
    if isinstance(value, dict):
        value = tuple(value.values())
    ranges = RANGES.get(option, ())
    for i, number in enumerate(value if isinstance(value, (tuple, list)) else (value,)):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not ranges:
            continue
        wrong = ranges[min(i, len(ranges) - 1)].wrong(number)
        if wrong:
            raise ValueError(f"{option} {_given(number)}: {wrong}")


def _given(number: float) -> str:
    """A number as the user wrote it, or about so."""
    if isinstance(number, int) and abs(number) >= 10**1000:  # Python does not write numbers of thousands of digits
        return "of thousands of digits"
    text = str(number) if isinstance(number, int) else f"{number:g}"
    return text if len(text) <= 24 else f"{text[:20]}..."


def _text(number: float) -> str:
    if number == int(number) and abs(number) < 1e10:
        return f"{int(number):,}"
    return f"{number:g}".replace("e+", "e")

"""`python -m tasks.simulators.isaac_gym --audit`: checks this machine's Isaac Gym and prints what a bug report needs."""

from __future__ import annotations

from tasks.simulators.isaac_gym.preload import preload_from_argv

preload_from_argv(["--sim", "isaac_gym"])  # Isaac Gym insists on being imported before torch

from tasks.simulators.isaac_gym import audit  # noqa: E402
from tasks.simulators.isaac_gym.simulator import IsaacGymSimulator  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(audit.main(IsaacGymSimulator))

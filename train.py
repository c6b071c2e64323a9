"""Train a hand to grasp: `python train.py`; `--help` shows the options that people use, `--help-all` shows all."""

from __future__ import annotations

from tasks.simulators.isaac_gym.preload import preload_from_argv
from tasks.simulators.open_gpu import open_gpu, take_own_gpu


def main() -> None:
    """Isaac Gym must be imported before torch, so nothing that imports torch may come before `preload_from_argv`."""
    take_own_gpu()
    preload_from_argv()
    open_gpu()
    from tasks.commands.train import command

    command()


if __name__ == "__main__":
    main()

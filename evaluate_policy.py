"""Measure a policy over many episodes: `python evaluate_policy.py`; `--help` lists the options."""

from __future__ import annotations

from tasks.simulators.isaac_gym.preload import preload_from_argv


def main() -> None:
    """Isaac Gym must be imported before torch, so nothing that imports torch may come before `preload_from_argv`."""
    preload_from_argv()
    from tasks.commands.evaluate import command

    command()


if __name__ == "__main__":
    main()

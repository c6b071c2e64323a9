"""Watch a policy grasp: `python play.py`, in a window, in the browser or as a video; `--help` lists the options."""

from __future__ import annotations

from tasks.simulators.isaac_gym.preload import preload_from_argv


def main() -> None:
    """Isaac Gym must be imported before torch, so nothing that imports torch may come before `preload_from_argv`."""
    preload_from_argv()
    from tasks.commands.play import command

    command()


if __name__ == "__main__":
    main()

"""Watch a policy grasp: `python play.py`, in a window if there is a display, else as a video; `--help` lists the options."""

from __future__ import annotations


def main() -> None:
    """Plays."""
    from tasks.commands.play import command

    command()


if __name__ == "__main__":
    main()

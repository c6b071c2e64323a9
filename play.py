"""Watch a policy grasp: `python play.py`.  It opens a window, or writes a video where there is no display."""

from __future__ import annotations


def main() -> None:
    """Plays."""
    from tasks.commands.play import command

    command()


if __name__ == "__main__":
    main()

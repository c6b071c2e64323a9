"""`python -m tasks.hands FILE.xml|FILE.urdf`: reads a hand, says what it found and what would break its training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from tasks.hands import HANDS, HandError, get_hand


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Prints what was found.  Returns the exit status: 2 if the hand cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.hands", description="Reads a hand's MJCF or URDF, and checks whether it can be trained."
    )
    parser.add_argument("hand", metavar="FILE|NAME", help=f"an .xml or .urdf file, or one of {', '.join(HANDS)}")
    parser.add_argument("--picture", metavar="FILE.png", help="draw the hand from three sides, open and before a grasp")
    parser.add_argument(
        "--write-toml", action="store_true", help="write the proposed TOML beside the file, if there is none"
    )
    options = parser.parse_args(arguments)
    try:
        if options.hand in HANDS:
            _describe_known(options.hand)
        else:
            _describe(Path(options.hand), options.write_toml)
        if options.picture:
            from tasks.hands.picture import draw

            hand = get_hand(options.hand)
            draw(hand, {"open": hand.open_pose, "before a grasp": hand.pregrasp_pose}, options.picture)
            print(f"drawn to {options.picture}")
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _describe_known(name: str) -> None:
    hand = get_hand(name)
    print(f"hand {name}: {hand.num_drives - 6} drives, {hand.num_fingertips} fingertips, {hand.mjcf}")


def _describe(path: Path, write: bool) -> None:
    from tasks.hands.reading.checks import check
    from tasks.hands.reading.load import load, toml_beside
    from tasks.hands.reading.notes import to_toml

    if not path.is_file():
        raise HandError(f"there is no hand's description at {path}")
    loaded = load(path)
    hand, beside = loaded.spec, toml_beside(path)
    print(f"hand {path}, with {beside.name}" if beside else f"hand {path}; no TOML beside it: all is proposed")
    print(f"drives ({len(hand.finger_joints)}, and 6 of the base): {', '.join(hand.finger_joints)}")
    print(f"fingertips ({hand.num_fingertips}): {', '.join(hand.fingertips)}")
    print(f"palm: {loaded.notes.palm}")
    coupled = [f"{name} = {hand.coupling(name):g} x {source}" for name, source in hand.coupled_joints.items()]
    print(f"coupled joints ({len(coupled)}): {', '.join(coupled) or 'none'}")
    for line in loaded.said:
        print(f"note: {line}")
    for well, line in check(loaded):
        print(f"{'ok' if well else 'CHECK'}: {line}")
    if beside is None and write:
        beside = path.with_suffix(".toml")
        beside.write_text(to_toml(loaded.notes), encoding="utf-8")
        print(f"the proposed TOML is written to {beside}")
    elif beside is None:
        print(
            f"\nproposed {path.with_suffix('.toml').name} (--write-toml writes it):\n\n{to_toml(loaded.notes)}", end=""
        )
    print(f"completed model: {hand.mjcf}")


if __name__ == "__main__":
    sys.exit(main())

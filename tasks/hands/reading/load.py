"""From a hand's file to a HandSpec: read, completed, its grip found, and kept in a cache."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Dict, Optional, Tuple
from xml.etree import ElementTree

from tasks.hands.errors import HandError
from tasks.hands.pregrasp import VERSION, search
from tasks.hands.reading.complete import BASE, PALM_SITE, Completed, complete
from tasks.hands.reading.kept import cache, put
from tasks.hands.reading.mjcf import read_mjcf
from tasks.hands.reading.notes import Notes, read_notes
from tasks.hands.reading.propose import bent, propose
from tasks.hands.reading.simplify import find_palm, simplify
from tasks.hands.reading.tree import Coupling, Tree
from tasks.hands.reading.urdf import read_urdf
from tasks.hands.spec import HandSpec

SUFFIXES = (".xml", ".mjcf", ".urdf")


@dataclass(frozen=True)
class Searched:
    """What the search for a grip gives, as the cache keeps it."""

    pregrasp: Dict[str, float]
    closed: Dict[str, float]
    centre: Tuple[float, float, float]
    grip_yaw: float
    lifted: Tuple[float, ...]


@dataclass(frozen=True)
class Loaded:
    """A hand that can be trained, and how it came to be."""

    spec: HandSpec
    notes: Notes
    """Complete: what the TOML said, and what was proposed."""
    said: Tuple[str, ...]
    """What was changed or guessed, for people."""
    completed: Completed
    lifted: Tuple[float, ...]
    """m, radii of the spheres lifted when the grip was searched for; empty if it was given."""
    searched: bool


def is_file_name(name: str) -> bool:
    """Whether a hand's name is meant as a file."""
    return name.lower().endswith(SUFFIXES) or os.sep in name


def load(path: Path) -> Loaded:
    """Reads a hand; the TOML beside it has its name, or is hand.toml.  Raises HandError, which names the file."""
    try:
        return _load(path)
    except HandError as error:
        raise HandError(f"{path}: {error}") from error


def _load(path: Path) -> Loaded:
    beside = toml_beside(path)
    notes = read_notes(beside) if beside else Notes()
    tree = read(path, notes.palm)
    for name, (source, ratio) in notes.coupled.items():
        if name not in tree.joints():
            raise HandError(f"[coupled] names {name!r}, which is no joint")
        tree.couplings[name] = Coupling(source, ratio)
    names = [link.name for link in tree.links]
    if notes.palm is not None and notes.palm not in names:
        raise HandError(f"palm body {notes.palm!r} is not in the file; there are: {', '.join(names[:12])}")
    hand = simplify(tree, find_palm(tree) if notes.palm is None else names.index(notes.palm))
    notes = propose(hand, notes)
    completed = complete(path.stem, hand, notes)
    for key in ("open", "pregrasp", "closed"):
        for name in getattr(notes, key) or {}:
            if name not in hand.driven:
                raise HandError(
                    f"[{key}] names {name!r}, which is no driven joint; there are: {', '.join(hand.driven)}"
                )
    spec = HandSpec(
        name=str(path),
        mjcf=_written(path, completed.text),
        base_joints=BASE,
        finger_joints=tuple(hand.driven),
        coupled_joints={name: c.source for name, c in hand.tree.couplings.items()},
        coupling_ratios={name: c.ratio for name, c in hand.tree.couplings.items() if c.ratio != 1.0},
        palm_body=completed.palm,
        palm_site=PALM_SITE,
        fingertips=tuple(notes.fingertips),
        fingertip_bodies=completed.fingertip_bodies,
        fingertip_sites=completed.fingertip_sites,
        fingertip_radius=tuple(tip.radius for tip in notes.fingertips.values()),
        palm_centre=notes.centre or (0.04, 0.0, -0.03),
        grip_yaw=notes.grip_yaw or 0.0,
        open_pose=notes.open or {},
        pregrasp_pose=notes.pregrasp or {},
    )
    lifted: Tuple[float, ...] = ()
    searched = notes.pregrasp is None or notes.centre is None or notes.grip_yaw is None
    if searched:
        found = _searched(spec)
        if notes.pregrasp is None and notes.closed is None:
            notes.closed = found.closed
        notes.pregrasp = notes.pregrasp or found.pregrasp
        notes.centre = notes.centre or found.centre
        notes.grip_yaw = found.grip_yaw if notes.grip_yaw is None else notes.grip_yaw
        lifted = found.lifted
        spec = replace(spec, pregrasp_pose=notes.pregrasp, palm_centre=notes.centre, grip_yaw=notes.grip_yaw)
    spec = replace(spec, closed_pose=notes.closed or bent(hand))
    return Loaded(spec, notes, tuple(hand.tree.notes), completed, lifted, searched)


def read(path: Path, palm: Optional[str] = None) -> Tree:
    """An MJCF or URDF by its content; palm: its palm's body, if that is known.  Raises HandError."""
    try:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise HandError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except ElementTree.ParseError as error:
        raise HandError(f"is no XML: {error}") from error
    if root.tag == "robot":
        return read_urdf(path, root)
    if root.tag == "mujocoinclude":
        raise HandError("is a part of an MJCF, <mujocoinclude>: give the file that includes it")
    if root.tag != "mujoco":
        raise HandError(f"is neither an MJCF nor a URDF: its first element is <{root.tag}>")
    return read_mjcf(path, palm)


def toml_beside(path: Path) -> Path | None:
    """NAME.toml, else hand.toml."""
    for candidate in (path.with_suffix(".toml"), path.with_name("hand.toml")):
        if candidate.is_file():
            return candidate
    return None


def _written(path: Path, text: str) -> Path:
    """The completed MJCF in a folder named by its content, put in place whole."""
    folder = cache() / f"{path.stem}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        put(folder / "hand.xml", text)
    except OSError as error:
        raise HandError(f"cannot write the completed hand to {folder}: {error.strerror}") from error
    return folder / "hand.xml"


def _searched(spec: HandSpec) -> Searched:
    """The grip that the search finds, from the cache if the same hand was searched before."""
    poses = json.dumps([VERSION, dict(spec.open_pose), spec.fingertips, spec.fingertip_radius], sort_keys=True)
    entry = spec.mjcf.with_name(f"grip-{hashlib.sha256(poses.encode()).hexdigest()[:12]}.json")
    try:
        kept = json.loads(entry.read_text(encoding="utf-8"))
        return Searched(
            kept["pregrasp"], kept["closed"], tuple(kept["centre"]), kept["grip_yaw"], tuple(kept["lifted"])
        )
    except (OSError, ValueError, KeyError):
        pass
    try:
        found = search(spec)
    except ValueError as error:
        raise HandError(f"{error}: give [pregrasp], palm.centre and palm.grip_yaw in the TOML") from error
    result = Searched(
        dict(found.grip.pregrasp), dict(found.grip.closed), found.palm_centre, found.grip_yaw, found.lifted
    )
    put(entry, json.dumps(asdict(result), indent=1))
    return result

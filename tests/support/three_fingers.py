"""A hand of another size than the Shadow Hand: D = 13 drives, F = 3 fingertips, one coupled joint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from conformance import HandUnderTest

from tasks.hands import HandSpec

THREE_FINGERS = HandSpec(
    name="three_fingers",
    mjcf=Path(__file__).with_suffix(".xml"),
    base_joints=("x", "y", "z", "rx", "ry", "rz"),
    finger_joints=(
        *("thumb_spread", "thumb_flex", "thumb_curl"),
        *("right_flex", "right_curl"),
        *("left_spread", "left_flex"),
    ),
    coupled_joints={"left_curl": "left_flex"},
    palm_body="palm",
    palm_site="palm",
    fingertips=("thumb", "right", "left"),
    fingertip_bodies=("thumb_distal", "right_distal", "left_distal"),
    fingertip_sites=("thumb_tip", "right_tip", "left_tip"),
    fingertip_radius=(0.01, 0.009, 0.009),
    palm_centre=(0.03, 0.01, -0.03),
    grip_yaw=-0.9,
    open_pose={},
    pregrasp_pose={"left_flex": 0.4, "right_flex": 0.4, "right_curl": 0.4, "thumb_flex": 0.4, "thumb_curl": 0.4},
)


def without_coupling(folder: Path) -> HandSpec:
    """The same hand with a drive in place of its tendon: D = 14 and no coupled joint.  Its file is written to `folder`."""
    root = ElementTree.parse(str(THREE_FINGERS.mjcf)).getroot()
    tendon, actuator = root.find("tendon"), root.find("actuator")
    assert tendon is not None and actuator is not None
    root.remove(tendon)
    ElementTree.SubElement(actuator, "position", name="left_curl", joint="left_curl")
    mjcf = folder / "uncoupled.xml"
    mjcf.write_text(ElementTree.tostring(root, encoding="unicode"))
    joints = (*THREE_FINGERS.finger_joints, "left_curl")
    return replace(THREE_FINGERS, name="uncoupled", mjcf=mjcf, finger_joints=joints, coupled_joints={})


TESTED = HandUnderTest(
    THREE_FINGERS,
    bent={"right_flex": 0.5, "left_flex": 0.8, "left_spread": -0.2, "thumb_curl": 0.6, "thumb_spread": 0.3},
    back=(0.0, 0.0, 0.02),
    pressing={"left_flex": 0.6, "right_flex": 0.6, "right_curl": 0.6},
    pressing_tips=(1, 2),
    pressing_heights=(0.08, 0.01),
)

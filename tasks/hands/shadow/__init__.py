"""The right Shadow Dexterous Hand (E3M5) on a floating base.  shadow_hand.xml has its kinematics and drives."""

from __future__ import annotations

from pathlib import Path

from tasks.hands.spec import HandSpec

SHADOW_HAND = HandSpec(
    name="shadow",
    mjcf=Path(__file__).with_name("shadow_hand.xml"),
    base_joints=("base_x", "base_y", "base_z", "base_rx", "base_ry", "base_rz"),
    # Joint 5 is nearest to the wrist, joint 1 nearest to the tip; FF is the first finger, TH the thumb.
    finger_joints=(
        *("FFJ4", "FFJ3", "FFJ2"),
        *("MFJ4", "MFJ3", "MFJ2"),
        *("RFJ4", "RFJ3", "RFJ2"),
        *("LFJ5", "LFJ4", "LFJ3", "LFJ2"),
        *("THJ5", "THJ4", "THJ3", "THJ2", "THJ1"),
    ),
    coupled_joints={"FFJ1": "FFJ2", "MFJ1": "MFJ2", "RFJ1": "RFJ2", "LFJ1": "LFJ2"},
    palm_body="palm",
    palm_site="palm",
    fingertips=("first", "middle", "ring", "little", "thumb"),
    fingertip_bodies=("ff_distal", "mf_distal", "rf_distal", "lf_distal", "th_distal"),
    fingertip_sites=("ff_tip", "mf_tip", "rf_tip", "lf_tip", "th_tip"),
    fingertip_radius=(0.008, 0.008, 0.008, 0.008, 0.0095),
    # A box gripped from above is held most surely here: off the middle, towards the thumb, which closes from its side.
    palm_centre=(0.04, 0.012, -0.03),
    grip_yaw=-0.525,
    open_pose={},  # flat, with the thumb at 45 degrees in the palm's plane
    pregrasp_pose={
        **{f"{finger}J{joint}": 0.5 for finger in ("FF", "MF", "RF", "LF") for joint in (3, 2)},
        **{"THJ5": 0.3, "THJ4": 1.2, "THJ2": -0.6},
    },
)

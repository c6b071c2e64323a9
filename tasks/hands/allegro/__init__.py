"""The right Allegro Hand on a floating base; its kinematics and drives are in allegro_hand.xml."""

from __future__ import annotations

from pathlib import Path

from tasks.hands.spec import HandSpec

ALLEGRO_HAND = HandSpec(
    name="allegro",
    mjcf=Path(__file__).with_name("allegro_hand.xml"),
    base_joints=("base_x", "base_y", "base_z", "base_rx", "base_ry", "base_rz"),
    # Joint 0 is nearest to the palm; FF is the first finger, TH the thumb.
    finger_joints=tuple(f"{finger}J{joint}" for finger in ("FF", "MF", "RF", "TH") for joint in range(4)),
    coupled_joints={},
    palm_body="palm",
    palm_site="palm",
    fingertips=("first", "middle", "ring", "thumb"),
    fingertip_bodies=("ff_distal", "mf_distal", "rf_distal", "th_distal"),
    fingertip_sites=("ff_tip", "mf_tip", "rf_tip", "th_tip"),
    fingertip_radius=(0.012, 0.012, 0.012, 0.012),
    palm_centre=(0.07, 0.007, -0.035),
    grip_yaw=-0.127,
    open_pose={"THJ0": 0.263},  # flat, the thumb to the side and as far up as it goes
    pregrasp_pose={
        **{f"{finger}J1": 0.2 for finger in ("FF", "MF", "RF")},
        **{f"{finger}J2": 1.0 for finger in ("FF", "MF", "RF")},
        **{f"{finger}J3": 0.4 for finger in ("FF", "MF", "RF")},
        **{"FFJ0": -0.05, "RFJ0": 0.05, "THJ0": 1.05, "THJ1": 0.9, "THJ2": 0.6, "THJ3": 1.2},
    },
)

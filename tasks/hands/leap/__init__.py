"""The right LEAP Hand on a floating base; its kinematics and drives are in leap_hand.xml."""

from __future__ import annotations

from pathlib import Path

from tasks.hands.spec import HandSpec

LEAP_HAND = HandSpec(
    name="leap",
    mjcf=Path(__file__).with_name("leap_hand.xml"),
    base_joints=("base_x", "base_y", "base_z", "base_rx", "base_ry", "base_rz"),
    finger_joints=(
        *(f"{finger}_{joint}" for finger in ("IF", "MF", "RF") for joint in ("MCP", "ROT", "PIP", "DIP")),
        *(f"TH_{joint}" for joint in ("CMC", "AXL", "MCP", "IPL")),
    ),
    coupled_joints={},
    palm_body="palm",
    palm_site="palm",
    fingertips=("first", "middle", "ring", "thumb"),
    fingertip_bodies=("if_distal", "mf_distal", "rf_distal", "th_distal"),
    fingertip_sites=("if_tip", "mf_tip", "rf_tip", "th_tip"),
    fingertip_radius=(0.011, 0.011, 0.011, 0.011),
    palm_centre=(0.056, 0.002, -0.035),
    grip_yaw=-0.078,
    open_pose={},  # flat, the thumb to the side in the palm's plane
    pregrasp_pose={
        **{f"{finger}_MCP": 0.2 for finger in ("IF", "MF", "RF")},
        **{f"{finger}_PIP": 0.9 for finger in ("IF", "MF", "RF")},
        **{f"{finger}_DIP": 0.4 for finger in ("IF", "MF", "RF")},
        **{"IF_ROT": 0.1, "RF_ROT": -0.1, "TH_CMC": 1.0, "TH_AXL": 1.1, "TH_MCP": 0.7, "TH_IPL": 1.1},
    },
)

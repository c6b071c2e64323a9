"""What every simulator must do, as functions of a `Bench`; each asserts one part of tasks/simulators/contract.py.

A test file of a simulator makes a `Bench` and runs `CONFORMANCE` against it:

    @pytest.mark.parametrize("check", CONFORMANCE, ids=lambda check: check.__name__)
    def test_contract(check):
        check(Bench(lambda objects, num_envs: MySimulator(...)))
"""

from __future__ import annotations

from conformance.bench import CUBE, LOADED, SHADOW, Bench, HandUnderTest, Start, bent, close, start
from conformance.of_disturbances import (
    centres_of_mass_differ,
    drives_differ,
    joints_have_friction,
    pushed_objects_accelerate,
    tables_differ,
)
from conformance.of_hands import (
    current_after_reset,
    drive_force_is_bounded,
    drives_follow,
    fingertip_presses_the_table,
    fingertip_velocity_is_of_its_origin,
    jumps_as_plain_mujoco,
    object_rests_on_the_hand,
    same_path_as_plain_mujoco,
)
from conformance.of_objects import free_fall, object_velocity_is_of_its_origin, rests_on_the_table
from conformance.of_states import (
    frames_and_quaternions,
    reset_leaves_others_alone,
    several_resets_in_one_step,
    shapes_and_addresses,
)

__all__ = [
    "ACCURACY",
    "CONFORMANCE",
    "CUBE",
    "LOADED",
    "OF_OBJECTS",
    "SHADOW",
    "Bench",
    "HandUnderTest",
    "Start",
    "bent",
    "close",
    "start",
]

CONFORMANCE = [
    shapes_and_addresses,
    free_fall,
    rests_on_the_table,
    drives_follow,
    current_after_reset,
    frames_and_quaternions,
    reset_leaves_others_alone,
    several_resets_in_one_step,
    object_velocity_is_of_its_origin,
    fingertip_velocity_is_of_its_origin,
    fingertip_presses_the_table,
    object_rests_on_the_hand,
    drive_force_is_bounded,
    same_path_as_plain_mujoco,
    jumps_as_plain_mujoco,
    pushed_objects_accelerate,
    drives_differ,
    tables_differ,
    centres_of_mass_differ,
    joints_have_friction,
]

OF_OBJECTS = [free_fall, rests_on_the_table, object_velocity_is_of_its_origin]
"""Those of them that are about the object alone."""
ACCURACY = [
    free_fall,
    object_velocity_is_of_its_origin,
    same_path_as_plain_mujoco,
    jumps_as_plain_mujoco,
    drives_differ,
    centres_of_mass_differ,
    joints_have_friction,
]
"""Those of them that ask for the right solution in time.  Their tolerances are for small steps: a semi-implicit step of
1/60 s is ahead by half of a step's gravity, and fingers that are thrown at their targets are ahead by 0.13 rad."""

"""Small wrong callers of Isaac Gym, each with the rule that it breaks: the double must refuse all of them."""

from __future__ import annotations

from typing import Any, Callable, List

import numpy as np
import pytest
import torch

from isaac_support.stage import ARM, Stage

WRONG: List[Any] = []


def wrong(rule: str) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Marks a wrong caller that must be refused with this rule."""

    def mark(function: Callable[[Stage], None]) -> Callable[[Stage], None]:
        WRONG.append(pytest.param(rule, function, id=f"{rule}_{function.__name__}"))
        return function

    return mark


@wrong("T2")
def number_for_a_handle(s: Stage) -> None:
    s.build()
    s.gym.get_actor_asset(0, 0)


@wrong("T2")
def handle_of_no_actor(s: Stage) -> None:
    s.build()
    s.gym.get_actor_index(s.envs[0], 7, s.api.DOMAIN_SIM)


@wrong("T3")
def unknown_field(s: Stage) -> None:
    s.params().physx.num_iterations = 4


@wrong("T4")
def flex_by_default(s: Stage) -> None:
    s.gym.create_sim(0, -1, params=s.params())


@wrong("T4")
def y_up_with_z_gravity(s: Stage) -> None:
    params = s.params()
    params.up_axis = s.api.UP_AXIS_Y
    s.gym.create_sim(0, -1, s.api.SIM_PHYSX, params)


@wrong("T4")
def collection_as_a_number(s: Stage) -> None:
    s.create(contact_collection=1)


@wrong("T4")
def collection_that_is_broken(s: Stage) -> None:
    s.create(contact_collection=s.api.CC_ALL_SUBSTEPS)


@wrong("T4")
def gpu_pipeline_on_the_processor(s: Stage) -> None:
    s.create(use_gpu=False)


@wrong("T5")
def actor_in_an_older_environment(s: Stage) -> None:
    s.create().assets()
    first = s.env()
    s.env()
    s.actor(first, s.box, 0)


@wrong("T5")
def force_sensor_after_an_actor(s: Stage) -> None:
    s.build()
    s.gym.create_asset_force_sensor(s.arm, 0, s.api.Transform())


@wrong("T5")
def acquire_before_prepare(s: Stage) -> None:
    s.build()
    s.gym.acquire_dof_state_tensor(s.sim)


@wrong("T5")
def simulate_before_prepare(s: Stage) -> None:
    s.build()
    s.simulate()


@wrong("T5")
def actor_after_prepare(s: Stage) -> None:
    s.ready()
    s.actor(s.envs[-1], s.box, 1)


@wrong("T5")
def aggregate_left_open(s: Stage) -> None:
    s.create().assets()
    s.gym.begin_aggregate(s.env(), 9, 9, True)
    s.env()


@wrong("T6")
def aggregate_too_small(s: Stage) -> None:
    s.create().assets()
    env = s.env()
    s.gym.begin_aggregate(env, 3, 3, True)
    s.actor(env, s.arm, 0)
    s.actor(env, s.box, 0)


@wrong("T7")
def wide_indices(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(1, dtype=torch.int64))


@wrong("T7")
def environment_numbers_for_actors(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(1, 99))


@wrong("T7")
def repeated_indices(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(1, 1))


@wrong("T7")
def wrong_count(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(1, 5), count=1)


@wrong("T7")
def rows_of_some_actors_only(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(1), s.root[1:2].clone())


@wrong("T7")
def double_precision(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(1), s.root.double())


@wrong("T7")
def strided_column(s: Stage) -> None:
    s.ready()
    s.torch.unwrap_tensor(s.dof[:, 0])


@wrong("T8")
def joints_of_a_box(s: Stage) -> None:
    s.ready()
    s.set_dof(s.ids(0, 1))


@wrong("T9")
def one_setter_twice(s: Stage) -> None:
    s.ready()
    first = s.ids(1)
    s.set_root(first)
    s.set_root(s.ids(5))


@wrong("T10")
def indices_that_die_at_once(s: Stage) -> None:
    s.ready()
    unwrap = s.torch.unwrap_tensor
    index = unwrap(torch.tensor([1]).to(torch.int32))
    s.gym.set_actor_root_state_tensor_indexed(s.sim, unwrap(s.root), index, 1)


@wrong("T10")
def forces_that_die_before_simulate(s: Stage) -> None:
    s.ready()
    force = torch.zeros(s.buffers["contact"].shape)
    s.gym.apply_rigid_body_force_tensors(s.sim, s.torch.unwrap_tensor(force), None, s.api.ENV_SPACE)
    del force
    s.simulate()


@wrong("T10")
def buffer_overwritten_before_simulate(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(1))
    s.root[1, 2] = 3.0
    s.simulate()


@wrong("T13")
def refresh_without_fetch_on_the_processor(s: Stage) -> None:
    s.ready(gpu=False)
    s.simulate()
    s.gym.refresh_dof_state_tensor(s.sim)


@wrong("T13")
def graphics_without_fetch(s: Stage) -> None:
    s.create(graphics=0).assets()
    s.fill(s.env())
    s.gym.prepare_sim(s.sim)
    s.simulate()
    s.gym.step_graphics(s.sim)


@wrong("T15")
def root_of_a_fixed_arm(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(0))


@wrong("T18")
def state_on_the_processor(s: Stage) -> None:
    s.ready()
    s.simulate()
    s.gym.get_actor_dof_states(s.envs[0], 0, s.api.STATE_ALL)


@wrong("T19")
def mass_after_prepare(s: Stage) -> None:
    s.ready()
    s.gym.set_actor_rigid_body_properties(s.envs[0], 1, s.gym.get_actor_rigid_body_properties(s.envs[0], 1), False)


@wrong("T19")
def scale_after_prepare(s: Stage) -> None:
    s.ready()
    s.gym.set_actor_scale(s.envs[0], 1, 1.1)


@wrong("T21")
def friction_after_a_root_state(s: Stage) -> None:
    s.ready()
    s.set_root(s.ids(1))
    s.gym.set_actor_rigid_shape_properties(s.envs[0], 1, s.gym.get_actor_rigid_shape_properties(s.envs[0], 1))


@wrong("T22")
def too_many_materials(s: Stage) -> None:
    from isaacgym._control import control

    assert control.max_materials == 64_000
    control.max_materials = 10
    s.build()
    for friction in np.linspace(0.5, 1.0, 11):
        shapes = s.gym.get_actor_rigid_shape_properties(s.envs[0], 1)
        shapes[0].friction = friction
        s.gym.set_actor_rigid_shape_properties(s.envs[0], 1, shapes)


def _lint(name: str, old: str, new: str) -> None:
    def caller(s: Stage) -> None:
        assert old in ARM
        s.create()
        s.load(ARM.replace(old, new, 1))

    caller.__name__ = name
    wrong("T23")(caller)


_lint("two_bodies_in_the_world", "<worldbody>", '<worldbody><geom type="plane" size="1 1 1"/>')
_lint("general_actuator", "<tendon>", '<actuator><general joint="first"/></actuator><tendon>')
_lint("no_inertial", '<inertial mass="1" pos="0 0.1 0" diaginertia="0.01 0.01 0.01"/>', "")
_lint("turned_inertial", '<inertial mass="0.5" pos', '<inertial mass="0.5" quat="1 0 0 0" pos')
_lint("no_limited", 'limited="true" ', "")
_lint("equality", "<tendon>", '<equality><joint joint1="first" joint2="second"/></equality><tendon>')
_lint("include", "<tendon>", '<include file="x.xml"/><tendon>')


@wrong("T24")
def default_collision_group(s: Stage) -> None:
    s.create().assets()
    for _ in range(2):
        s.gym.create_actor(s.env(), s.box, s.api.Transform(), "box")
    s.gym.prepare_sim(s.sim)


@wrong("T24")
def one_group_for_two_environments(s: Stage) -> None:
    s.create().assets()
    for _ in range(2):
        s.actor(s.env(), s.box, 0)
    s.gym.prepare_sim(s.sim)


@wrong("T25")
def viewer_without_graphics(s: Stage) -> None:
    s.create()
    s.gym.create_viewer(s.sim, s.api.CameraProperties())


@wrong("T25")
def camera_without_graphics(s: Stage) -> None:
    s.create()
    s.gym.create_camera_sensor(s.env(), s.api.CameraProperties())


def _filming(s: Stage) -> int:
    s.create(graphics=0).assets()
    s.fill(s.env())
    camera = s.gym.create_camera_sensor(s.envs[0], s.api.CameraProperties())
    s.gym.prepare_sim(s.sim)
    s.simulate()
    s.gym.fetch_results(s.sim, True)
    s.gym.step_graphics(s.sim)
    return camera


@wrong("T25")
def rendering_while_reading_images(s: Stage) -> None:
    _filming(s)
    s.gym.start_access_image_tensors(s.sim)
    s.gym.render_all_camera_sensors(s.sim)


@wrong("T25")
def image_tensor_without_asking(s: Stage) -> None:
    camera = _filming(s)
    s.gym.get_camera_image_gpu_tensor(s.sim, s.envs[0], camera, s.api.IMAGE_COLOR)


@wrong("T26")
def quaternion_not_of_unit_length(s: Stage) -> None:
    s.ready()
    s.root[1, 3:7] = torch.tensor([0.5, 0.0, 0.0, 0.5])
    s.set_root(s.ids(1))


@wrong("T26")
def identity_in_the_wrong_order(s: Stage) -> None:
    from isaacgym._control import control

    control.refuse_half_turns = True
    s.ready()
    s.root[1, 3:7] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    s.set_root(s.ids(1))


@wrong("T30")
def second_simulation(s: Stage) -> None:
    s.create()
    s.create()

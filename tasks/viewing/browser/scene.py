"""The nodes of the browser's scene: hands, objects, goals, table, fingertip frames and contact forces."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT
from tasks.viewing import look
from tasks.viewing.browser.meshes import linear, object_mesh, skin_glb
from tasks.viewing.browser.poses import HandPoses
from tasks.viewing.skin import SkinPart, hand_skin
from tasks.viewing.watched import Snapshot

LEAST_FORCE = 0.05
"""N.  Smaller forces have no arrow."""
ASIDE_OF_PANEL = 0.1
"""Share of its distance by which a camera on several hands looks to their right, where the controls are."""
LONGEST_ARROW = 0.15
"""m"""
ASIDE = (0.0, 0.0, -10.0)
"""m, where arrows wait that have no force."""


class BrowserScene:
    """Hands side by side.  One node has the same body of all hands, so that a frame costs few messages."""

    def __init__(self, server: Any, hand: HandSpec) -> None:
        """server: a `viser.ViserServer`."""
        self.server, self.hand = server, hand
        self.show_goal, self.show_forces, self.show_frames = True, False, False
        by_body: Dict[str, List[SkinPart]] = {}
        for part in hand_skin(hand):
            by_body.setdefault(part.body, []).append(part)
        self._skins = {body: skin_glb(parts) for body, parts in by_body.items()}
        self._poses = HandPoses(hand, list(self._skins))
        self._objects: Optional[ObjectSet] = None
        self._meshes: Dict[int, Tuple[np.ndarray, np.ndarray]] = {}
        self._count = 0
        self._nodes: Dict[str, Any] = {}
        self._object_nodes: List[Any] = []
        self._object_ids: List[int] = []
        self._reached: Optional[np.ndarray] = None
        self._places = np.zeros((0, 3))
        self._make_room()
        server.on_client_connect(self._welcome)

    def _make_room(self) -> None:
        """Table and light."""
        scene = self.server.scene
        scene.set_up_direction("+z")
        scene.configure_environment_map("studio", environment_intensity=0.22)
        scene.configure_default_lights(enabled=False)
        key, fill = look.LIGHTS
        scene.add_light_directional(
            "/light/key", intensity=0.85, cast_shadow=True, position=tuple(2.0 * np.array(key.place))
        )
        scene.add_light_directional("/light/fill", intensity=0.25, position=tuple(2.0 * np.array(fill.place)))
        scene.add_grid(
            "/table",
            infinite_grid=True,
            cell_size=0.1,
            section_size=0.5,
            cell_color=_bytes(look.LINE_COLOUR),
            section_color=_bytes(look.LINE_COLOUR),
            cell_thickness=0.6,
            fade_distance=4.0,
            fade_from="origin",
            plane_color=_bytes(look.TABLE_COLOUR),
            plane_opacity=1.0,
            shadow_opacity=0.35,
            position=(0.0, 0.0, TABLE_HEIGHT),
        )

    def place_cameras(self) -> None:
        """Points the cameras of those who look, and of those who come, at the hands."""
        self._place_camera(self.server.initial_camera, 1.6)
        for client in self.server.get_clients().values():
            self._place_camera(client.camera, _aspect(client.camera))

    def _welcome(self, client: Any) -> None:
        """Places the camera of somebody who comes, and again when a phone is turned.

        While a page is still being laid out, the browser tells a size that is not yet its own; the right one follows.
        """
        upright: List[bool] = []

        def look_again(camera: Any) -> None:
            aspect = _aspect(camera)
            if [aspect < 1] != upright:
                upright[:] = [aspect < 1]
                self._place_camera(camera, aspect)

        client.camera.on_update(look_again)
        look_again(client.camera)

    def _place_camera(self, camera: Any, aspect: float) -> None:
        """aspect: width over height.  The controls hide a part of the picture: on a narrow one below, and else on the right."""
        view = look.view(max(1, self._count))
        x, y, z = view.look_at
        if aspect < 1:
            further = view.distance * min(1.5, 0.8 / aspect)
            view = view._replace(distance=further, look_at=(x, y, z - 0.18 * further))
        elif self._count > 1:
            further = 1.12 * view.distance
            view = view._replace(distance=further, look_at=(x, y + ASIDE_OF_PANEL * further, z))
        camera.position, camera.look_at, camera.fov = tuple(view.position), view.look_at, np.radians(look.FIELD_OF_VIEW)

    def show(self, shown: Snapshot, objects: ObjectSet) -> None:
        """Draws worlds of this set."""
        count = len(shown.object_id)
        if objects is not self._objects:
            self._objects, self._meshes, self._object_ids = objects, {}, [-1] * self._count
        if count != self._count:
            self._make_hands(count)
        with self.server.atomic():
            self._move_hands(shown)
            self._move_objects(shown)
            self._move_marks(shown)

    # ------------------------------------------------------------------------------------------------------- nodes

    def _make_hands(self, count: int) -> None:
        for node in (*self._nodes.values(), *self._object_nodes):
            node.remove()
        self._nodes, self._object_ids = {}, [-1] * count
        self._count, self._reached = count, None
        self._places = np.concatenate([look.places(count), np.zeros((count, 1))], axis=1)
        scene, tips = self.server.scene, count * self.hand.num_fingertips
        quats, places = _identity(count), self._places
        for body, data in self._skins.items():
            self._nodes[body] = scene.add_batched_glb(f"/hand/{body}", data, quats, places, lod="off")
        points, _, faces = look.rings()
        self._nodes["goal"] = scene.add_batched_meshes_simple(
            "/goal",
            points,
            faces,
            quats,
            places,
            batched_colors=_batch_bytes(look.GOAL_COLOUR),
            cast_shadow=False,
            lod="off",
        )
        self._nodes["frames"] = scene.add_batched_axes(
            "/frames", _identity(tips), np.zeros((tips, 3)), axes_length=0.03, axes_radius=0.0012
        )
        self._nodes["forces"] = scene.add_arrows(
            "/forces",
            _arrows(np.zeros((tips, 3)), np.zeros((tips, 3))),
            _bytes(look.FORCE_COLOUR),
            shaft_radius=0.0018,
            head_radius=0.0045,
            head_length=0.01,
        )
        point = np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.uint32)
        # Batches of one: they move in the same frame as the hands, which single nodes do not.
        self._object_nodes = [
            scene.add_batched_meshes_simple(f"/object/{world}", *point, quats[:1], places[:1], lod="off")
            for world in range(count)
        ]
        self.place_cameras()

    def _move_hands(self, shown: Snapshot) -> None:
        pos, quat = self._poses(shown.joint_pos)
        for index, body in enumerate(self._skins):
            node = self._nodes[body]
            node.batched_positions = (pos[:, index] + self._places).astype(np.float32)
            node.batched_wxyzs = quat[:, index].astype(np.float32)

    def _move_objects(self, shown: Snapshot) -> None:
        for world, node in enumerate(self._object_nodes):
            item = int(shown.object_id[world])
            if item != self._object_ids[world]:
                self._object_ids[world] = item
                node.vertices, node.faces = self._mesh(item)
                node.batched_colors = np.array(_batch_bytes(look.object_colour(item)), np.uint8)
            node.batched_positions = (shown.object_pos[world] + self._places[world])[None].astype(np.float32)
            node.batched_wxyzs = shown.object_quat[world][None].astype(np.float32)

    def _mesh(self, item: int) -> Tuple[np.ndarray, np.ndarray]:
        if item not in self._meshes:
            assert self._objects is not None
            self._meshes[item] = object_mesh(self._objects.objects[item])
        return self._meshes[item]

    def _move_marks(self, shown: Snapshot) -> None:
        goal, frames, forces = (self._nodes[name] for name in ("goal", "frames", "forces"))
        for node, visible in ((goal, self.show_goal), (frames, self.show_frames), (forces, self.show_forces)):
            if node.visible != visible:
                node.visible = visible
        if self.show_goal:
            goal.batched_positions = (shown.goal + self._places).astype(np.float32)
            if self._reached is None or (shown.reached != self._reached).any():
                self._reached = shown.reached.copy()
                of_each = np.where(
                    shown.reached[:, None], _batch_bytes(look.REACHED_COLOUR), _batch_bytes(look.GOAL_COLOUR)
                )
                goal.batched_colors = of_each.astype(np.uint8)
        tips = (shown.fingertip_pos + self._places[:, None]).reshape(-1, 3)
        if self.show_frames:
            frames.batched_positions = tips.astype(np.float32)
            frames.batched_wxyzs = shown.fingertip_quat.reshape(-1, 4).astype(np.float32)
        if self.show_forces:
            forces.points = _arrows(tips, shown.fingertip_force.reshape(-1, 3))


def _aspect(camera: Any) -> float:
    """Width over height of somebody's picture."""
    return float(camera.image_width / max(1, camera.image_height))


def _arrows(points: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """(N, 2, 3) from each point (N, 3) along the force (N, 3) N."""
    size = np.linalg.norm(forces, axis=-1, keepdims=True)
    along = forces * look.FORCE_LENGTH * np.minimum(1.0, LONGEST_ARROW / (look.FORCE_LENGTH * size + 1e-9))
    found = np.stack([points, points + along], axis=1)
    aside = np.array([ASIDE, np.add(ASIDE, (0.0, 0.0, 0.01))])
    return np.where(size[:, None] > LEAST_FORCE, found, aside).astype(np.float32)


def _identity(count: int) -> np.ndarray:
    return np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)).astype(np.float32)


def _bytes(colour: Any) -> Any:
    return tuple(round(255 * c) for c in colour)


def _batch_bytes(colour: Any) -> Any:
    """viser takes the colours of a batch for light, not for those of a screen."""
    return _bytes([linear(c) for c in colour])

"""The worlds of the scoreboard: fitted streets and the streets themselves, assembled scenarios, rebuilt drives."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from fitted_streets import Stored, cameras_of, read_streets, splat_world, what_is_stored
from host_processes import made_on_host
from rooms import roomy
from runs import RunError

from jaxrecon.agents.driving import Clips
from jaxrecon.agents.evaluation_sets import scene_hash
from jaxrecon.geometry.transforms import inverse
from jaxrecon.logs import DrivingLog, read_log
from jaxrecon.logs.splits import read_split
from jaxrecon.scene import load_scene, occupancy
from jaxrecon.scene.assembled import AssembleConfig, assemble
from jaxrecon.scene.files import KIND, VERSION
from jaxrecon.simulator import (
    Simulator,
    SimulatorParams,
    SplatCameras,
    World,
    build_world,
    join_cameras,
    join_worlds,
    policy_rig,
)
from jaxrecon.simulator.street_cameras import StreetCameras, stack_streets
from jaxrecon.storage import read_folder
from jaxrecon.street import CameraConfig

ROOM = 1.6  # of pairs over what clips' starts need: later moments need more
LOOKED_AT = 32  # clips whose starts say how much room there must be


@dataclasses.dataclass(frozen=True)
class Group:
    """Scenes that are scored together.

    Attributes:
        name: of the scenes.
        drawn: how their frames come about: ``splats`` or ``reality``.
        simulator: all of them in one world.
        logs: of the scenes, in the world's order.
        content: hashes of what is drawn, by scene; empty where the seed says it.
        in_scene: whether policies may have been trained in these very scenes.
        first: whether it is the first group of these scenes; what does not look is filmed in it alone.
    """

    name: str
    drawn: str
    simulator: Simulator
    logs: tuple[DrivingLog, ...]
    content: tuple[str, ...] = ()
    in_scene: bool = False
    first: bool = True

    @property
    def world_name(self) -> str:
        """What the scoreboard calls it."""
        return f"{self.name}, {self.drawn}"

    @property
    def scenes(self) -> list[tuple[str, str]]:
        """Name and hash of every scene."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(zip((log.name for log in self.logs), pool.map(scene_hash, self.logs), strict=True))


def street_groups(folder: pathlib.Path, size: tuple[int, int]) -> tuple[Group, Group]:
    """The test streets that ``fit_streets`` made in a folder: drawn as splats, and as they are.

    Args:
        folder: of the streets.
        size: of the policy's images, pixels.

    Raises:
        RunError: if there are none, or a scene was fitted to another street.
    """
    return _street_groups(folder, size, what_is_stored(folder, "test"))


@functools.lru_cache(maxsize=1)
def _street_groups(folder: pathlib.Path, size: tuple[int, int], stored: Stored) -> tuple[Group, Group]:
    """Kept for the process's next command, unless something else is stored by then."""
    streets = read_streets(folder, "test")
    splats = splat_world(streets, size)
    cast = StreetCameras(made_on_host(lambda: stack_streets([one.street.world for one in streets])))
    logs, content = tuple(one.log for one in streets), tuple(one.content for one in streets)
    return (
        Group("streets", "splats", Simulator(splats), logs, content),
        Group("streets", "reality", Simulator(dataclasses.replace(splats, source=cast)), logs, first=False),
    )


def scenario_group(folder: pathlib.Path, size: tuple[int, int], splats: int, most: int | None = None) -> Group:
    """The test scenarios of a folder of Waymo motion, assembled, before the streets' camera.

    Args:
        folder: with ``SPLIT.tsv``.
        size: of the policy's images, pixels.
        splats: most of a scene.
        most: take only so many scenarios.

    Raises:
        RunError: if a scenario does not fit into so many splats.
    """
    mount = CameraConfig().mount()

    def make(path: pathlib.Path) -> tuple[DrivingLog, World, SplatCameras]:
        log = dataclasses.replace(read_log(path), mounts=(mount,))
        try:
            made = assemble(log, AssembleConfig(capacity=splats))
        except ValueError as error:
            raise RunError(f"--scenario-splats {splats}: {error}") from error
        source = cameras_of(made.scene)
        return log, build_world(log, source, policy_rig(log, *size), made.obstacles, ground=made.ground), source

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(make, read_split(folder).test[:most]))
    world = join_worlds([world for _, world, _ in made], join_cameras([source for _, _, source in made]))
    return Group("Waymo scenarios", "splats", Simulator(world), tuple(log for log, _, _ in made))


def drive_group(recording: pathlib.Path, rebuilt: pathlib.Path, size: tuple[int, int]) -> Group:
    """A recorded drive in the scene that ``reconstruct.py`` made of it; policies may have been trained in it.

    Args:
        recording: folder of the log.
        rebuilt: folder that ``reconstruct.py`` wrote.
        size: of the policy's images, pixels.

    Raises:
        RunError: if the scene is of another log, or the folder is none of ``reconstruct.py``.
    """
    log = read_log(recording)
    scene, note = load_scene(rebuilt / "scene")
    if note["log"] != log.name:
        raise RunError(f"{rebuilt} holds a scene of log {note['log']}, not of {log.name}; give each drive its own")
    if "camera" not in note or not (rebuilt / "fitted.npz").is_file():
        raise RunError(f"{rebuilt} was not written by reconstruct.py; rebuild the drive with it")
    name = log.cameras[0].name if note["camera"] == "all" else note["camera"]
    log = _as_fitted(log, name, rebuilt)
    obstacles = occupancy.from_lidar(log) if any(len(cloud) for cloud in log.lidar) else occupancy.empty()
    world = build_world(log, cameras_of(scene, rebuilt / "scene"), policy_rig(log, *size, [name]), obstacles)
    content = (read_folder(rebuilt / "scene", kind=KIND, version=VERSION).content_hash,)
    return Group(f"drive {log.name}", "splats", Simulator(world), (log,), content, in_scene=True)


def _as_fitted(log: DrivingLog, camera: str, rebuilt: pathlib.Path) -> DrivingLog:
    """The log with the car's poses as the fit corrected them, where it has one camera."""
    with np.load(rebuilt / "fitted.npz") as fitted:
        poses = fitted["world_from_camera"].astype(np.float64)
    if len(poses) != log.frames:
        return log
    mount = log.camera(camera).ego_from_camera
    return dataclasses.replace(log, world_from_ego=poses @ inverse(mount))


def with_enough_room(group: Group, clips: Clips, params: SimulatorParams) -> Group:
    """The group with room for the (splat, tile) pairs that its clips need."""
    world = group.simulator.world
    if not isinstance(world.source, SplatCameras):
        return group
    some = clips.take(np.linspace(0, clips.count - 1, min(clips.count, LOOKED_AT)).round().astype(int))
    start: Callable = jax.jit(Simulator.reset_at, static_argnames="draw")
    state, _ = start(
        group.simulator, jax.random.key(0), some.start_frames, some.perturbation, params, draw=False, scenes=some.scenes
    )
    return dataclasses.replace(group, simulator=roomy(group.simulator, state, ROOM)[0])


def slug(text: str) -> str:
    """A name fit for files."""
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in text).lower()

"""The worlds that cousins drive in: procedural streets, assembled scenarios, rebuilt drives; never held-out ones."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from fitted_streets import FIRST, MOST, cameras_of, read_street, splat_world
from rooms import with_room
from runs import RunError
from scoreboard_worlds import drive_group
from stages import street_seed
from street_worlds import AHEAD, street_log

from jaxrecon import reconstruct
from jaxrecon.logs import DrivingLog, LogError, read_log
from jaxrecon.logs.splits import read_split
from jaxrecon.render import RenderConfig
from jaxrecon.scene import Scene, build_levels, ground, load_scene
from jaxrecon.scene.assembled import AssembleConfig, assemble
from jaxrecon.simulator import (
    Moment,
    Simulator,
    SplatCameras,
    World,
    build_world,
    exact_cameras,
    policy_cameras,
    policy_rig,
    with_field_of_view,
)
from jaxrecon.simulator.observation import actors_of_cameras, ego_cameras
from jaxrecon.simulator.standing import stack_heights
from jaxrecon.street import CameraConfig, StreetConfig
from jaxrecon.trajectories import Cousins, scene_content
from jaxrecon.trajectories.confidence import nearest_on_path

LOOKED_AT = 24  # moments by which the room for (splat, tile) pairs is found
FEW_SPLATS = 150_000  # a scene of fewer is drawn sooner as it is by a CPU: its policy-resolution form has far more
ANTIALIASED = RenderConfig(antialiased=True)
ROOM = 1.5  # times the most that any of them needs
FIRST_PAIRS, GROWTHS = 4096, 12


@dataclasses.dataclass(frozen=True)
class CousinWorld:
    """Where cousins drive.

    Attributes:
        log: their drive.
        simulator: its world alone, with what draws the policy's cameras.
        content: hash of the scene that is drawn.
        kind: "street", "fitted street", "assembled" or "rebuilt".
    """

    log: DrivingLog
    simulator: Simulator
    content: str
    kind: str

    @property
    def drawn(self) -> str:
        """How its frames come about: the scene as it is, or its policy-resolution form."""
        source = self.simulator.world.source
        return "policy form" if isinstance(source, SplatCameras) and source.arena.clusters is not None else "exact"


def open_world(
    source: str,
    size: tuple[int, int],
    splats: int,
    rebuilt: pathlib.Path | None = None,
    streets: pathlib.Path | None = None,
    street: StreetConfig | None = None,
    seen: bool = True,
) -> CousinWorld:
    """The world of a log.

    Args:
        source: ``street`` or ``street:SEED``, a Waymo scenario, or the folder of a recording.
        size: of the policy's images, pixels.
        splats: most of a scene that is assembled.
        rebuilt: what ``reconstruct.py`` wrote for that recording.
        streets: what ``fit_streets.py`` wrote; the street is taken from there.
        street: how procedural streets are made.
        seen: whether anything shall draw what is assembled.

    Raises:
        RunError: if it is held out for testing, or a folder is missing.
    """
    seed = street_seed(source)
    if seed is not None:
        if seed in range(FIRST["test"], FIRST["test"] + MOST):
            raise RunError(f"--log {source}: that street is held out for testing; take another seed")
        if streets is not None:
            return _fitted(streets, seed, size)
        return _assembled(street_log(street or StreetConfig(), seed, size, (AHEAD,)), size, splats, "street", seen)
    if rebuilt is not None:
        return _rebuilt(pathlib.Path(source), rebuilt, size)
    _refuse_held_out(pathlib.Path(source))
    log = read_log(source)
    if not log.mounts:
        log = dataclasses.replace(log, mounts=(CameraConfig().mount(),))
    if log.cameras:
        raise RunError(f"--log {source}: a recording with images needs its scene: give --rebuilt, see reconstruct.py")
    return _assembled(log, size, splats, "assembled", seen)


def _assembled(log: DrivingLog, size: tuple[int, int], splats: int, kind: str, seen: bool) -> CousinWorld:
    try:
        made = assemble(log, AssembleConfig(capacity=splats))
    except ValueError as error:
        raise RunError(f"--splats {splats}: {error}") from error
    source, rig = (_drawn(made.scene), policy_rig(log, *size)) if seen else (None, None)
    world = build_world(log, source, rig, made.obstacles, ground=made.ground)
    return CousinWorld(log, Simulator(world), scene_content(made.scene), kind)


def _drawn(scene: Scene) -> SplatCameras:
    """What draws a scene that was assembled."""
    if jax.default_backend() == "cpu" and int(np.asarray(scene.gaussians.valid).sum()) < FEW_SPLATS:
        return exact_cameras(scene, ANTIALIASED)
    return cameras_of(scene)


def _fitted(folder: pathlib.Path, seed: int, size: tuple[int, int]) -> CousinWorld:
    found = read_street(folder, seed)
    return CousinWorld(found.log, Simulator(splat_world([found], size)), found.content, "fitted street")


def _rebuilt(recording: pathlib.Path, folder: pathlib.Path, size: tuple[int, int]) -> CousinWorld:
    """A rebuilt drive, with what its recorded views say of each splat and the ground that its LiDAR saw."""
    group = drive_group(recording, folder, size)
    log, world = group.logs[0], group.simulator.world
    scene, _ = load_scene(folder / "scene")
    support, _ = reconstruct.load_support(folder / "support")
    # What draws must be what the support tells of: the scene, or the form that is merged from it, not a distilled one.
    few = jax.default_backend() == "cpu" and int(np.asarray(scene.gaussians.valid).sum()) < FEW_SPLATS
    source = exact_cameras(scene, ANTIALIASED) if few else policy_cameras(build_levels(scene), scene)
    drawn = with_field_of_view(source, scene, support)
    heights = stack_heights([ground.from_lidar(log)]) if any(len(cloud) for cloud in log.lidar) else None
    world = dataclasses.replace(world, source=drawn, ground=heights)
    return CousinWorld(log, Simulator(world), scene_content(scene), "rebuilt")


def _refuse_held_out(path: pathlib.Path) -> None:
    folder = path.parent.parent
    if not (folder / "SPLIT.tsv").exists():
        return
    try:
        held_out = path.resolve() in {one.resolve() for one in read_split(folder).test}
    except LogError as error:
        raise RunError(f"--log {path}: whether it is held out for testing cannot be told ({error})") from error
    if held_out:
        raise RunError(f"--log {path}: {folder / 'SPLIT.tsv'} holds it out for testing; take one to train in")


def with_room_for(simulator: Simulator, cousins: Cousins) -> Simulator:
    """The same with room for the (splat, tile) pairs that images along the cousins need.

    Raises:
        RunError: if there is never enough.
    """
    if not isinstance(simulator.world.source, SplatCameras):
        return simulator
    random = np.random.default_rng(0)
    picked = (random.integers(0, cousins.count, LOOKED_AT), random.integers(0, cousins.steps, LOOKED_AT))
    vehicle = jax.tree.map(lambda leaf: jnp.asarray(leaf[picked]), cousins.vehicle)
    frame, pairs = jnp.asarray(cousins.frame[picked]), FIRST_PAIRS
    for _ in range(GROWTHS):
        world = with_room(simulator.world, pairs)
        most, short = (np.asarray(value) for value in _needed(world, vehicle, frame))
        if not short.any():
            return dataclasses.replace(
                simulator, world=with_room(world, int(np.ceil(ROOM * most.max() / 64) * 64))
            )  # fmt: skip
        pairs *= 2
    raise RunError(f"images along the cousins lack splats with room for {pairs} pairs; take smaller images")


@jax.jit
def _needed(world: World, vehicle: jax.Array, frame: jax.Array) -> tuple[jax.Array, jax.Array]:
    moment = Moment(jnp.zeros_like(frame), frame, vehicle, nearest_on_path(world, vehicle.position))
    assert isinstance(world.source, SplatCameras)
    drawn = world.source.render(ego_cameras(world, moment), *actors_of_cameras(world, moment))
    return drawn.pairs, drawn.overflow

"""Fitted streets on disk: what `fit_streets.py` writes, and the worlds that are made of it.

A street's folder holds its scene (`scene`, compact), its obstacles and its ground (`maps.npz`), and what was measured.
Its drive and its traffic follow from its seed; their hash is noted with the scene and compared.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from host_processes import made_on_host, side_by_side
from runs import RunError, fingerprint_of

from jaxrecon import street
from jaxrecon.agents.evaluation_sets import scene_hash
from jaxrecon.logs import DrivingLog
from jaxrecon.scene import Levels, Scene, build_levels, ground, load_compact, load_levels, occupancy, save_compact
from jaxrecon.scene.compact import KIND, VERSION
from jaxrecon.simulator import (
    POLICY_RENDER,
    SplatCameras,
    World,
    build_world,
    exact_cameras,
    join_cameras,
    join_worlds,
    policy_cameras,
    policy_rig,
)
from jaxrecon.simulator.cameras import EXACT_RENDER, drawn_by
from jaxrecon.simulator.rigs import rig_of_scene
from jaxrecon.storage import read_folder
from jaxrecon.street import CameraConfig, LidarConfig, StreetConfig

Part = Literal["train", "test"]
Stored: TypeAlias = tuple[tuple[int, pathlib.Path, str], ...]  # seed, folder and fingerprint of each street
FIRST = {"train": 1000, "test": 2000}  # seeds of the streets to train in, and of those never to train in
MOST = 1000  # streets of a part
SCENE, MAPS = "scene", "maps.npz"
FEW_SPLATS = 10_000  # a scene of fewer is drawn as it is: its policy-resolution form would be larger
AS_FITS, UNPACKED = "auto", "xla"  # backends: the device's best, and one that takes an arena as it is
_UNKNOWN = np.iinfo(np.int16).min


@dataclasses.dataclass(frozen=True)
class FittedStreet:
    """A street and what was fitted to a recording of it.

    Attributes:
        street: the street itself.
        log: its drive, its traffic and where its cameras sat, without what sensors saw.
        scene: the splats.
        obstacles: that the LiDAR saw.
        ground: likewise.
        content: hash of the stored scene.
        world: the street's state, without cameras.
        levels: the scene's policy-resolution form; None where it is drawn as it is.
    """

    street: street.Street
    log: DrivingLog
    scene: Scene
    obstacles: occupancy.DistanceField
    ground: ground.HeightField
    content: str
    world: World
    levels: Levels | None


def save_street(log: DrivingLog, scene: Scene, note: dict[str, Any], folder: pathlib.Path) -> str:
    """Write a scene that was fitted to a log, and the log's obstacles and ground; returns the scene's hash."""
    found = save_compact(scene, folder / SCENE, {**note, "log_hash": scene_hash(log)})
    _write_maps(occupancy.from_lidar(log), ground.from_lidar(log), folder / MAPS)
    return found


def street_places(folder: pathlib.Path, part: Part) -> list[tuple[int, pathlib.Path]]:
    """Seed and folder of every street of a part, by seed.

    Raises:
        RunError: if there are none.
    """
    seeds = range(FIRST[part], FIRST[part] + MOST)
    found = [(int(place.name.split("-")[1]), place) for place in folder.glob("street-*")]
    places = sorted((seed, place) for seed, place in found if seed in seeds)
    if not places:
        raise RunError(f"{folder} holds no {part} streets (street-{seeds[0]} and on); make them with fit_streets.py")
    return places


def read_streets(folder: pathlib.Path, part: Part) -> tuple[FittedStreet, ...]:
    """All streets of a part.

    Raises:
        RunError: if there are none, or a scene was fitted to another drive than its seed gives.
    """
    return _read_streets(folder, what_is_stored(folder, part))


def what_is_stored(folder: pathlib.Path, part: Part) -> Stored:
    """Seed, folder and fingerprint of the scene of every street of a part: what is made of them follows from it.

    Raises:
        RunError: if there are none.
    """
    return tuple((seed, place, fingerprint_of(place / SCENE)) for seed, place in street_places(folder, part))


@functools.lru_cache(maxsize=len(FIRST))
def _read_streets(folder: pathlib.Path, stored: Stored) -> tuple[FittedStreet, ...]:
    """Kept for the process's next command, unless something else is stored by then."""
    seeds, places, _ = zip(*stored, strict=True)
    return tuple(side_by_side(partial(_read_street, street_config(folder)), seeds, places))


def read_street(folder: pathlib.Path, seed: int) -> FittedStreet:
    """The street of a seed.

    Raises:
        RunError: if there is none, or its scene was fitted to another drive than the seed gives.
    """
    place = folder / f"street-{seed}"
    if not place.is_dir():
        raise RunError(f"{folder} holds no street-{seed}; make it with fit_streets.py")
    return _read_street(street_config(folder), seed, place)


def _read_street(config: StreetConfig, seed: int, place: pathlib.Path) -> FittedStreet:
    one = street.generate(config, seed)
    log = street_log(one)
    scene, note = load_compact(place / SCENE)
    if note["log_hash"] != scene_hash(log):
        raise RunError(
            f"{place}: its scene was fitted to a drive with hash {note['log_hash'][:12]}, seed {seed} gives one with "
            f"{scene_hash(log)[:12]}; fit the street again"
        )
    content = read_folder(place / SCENE, kind=KIND, version=VERSION).content_hash
    obstacles, height = _read_maps(place / MAPS)
    world = build_world(log, None, None, obstacles, ground=height)
    return FittedStreet(one, log, scene, obstacles, height, content, world, _levels_of(scene))


def street_log(one: street.Street) -> DrivingLog:
    """A street's drive, its traffic, its map and where its cameras sit; nothing is cast."""
    config = one.config
    log = street.record(
        dataclasses.replace(one, config=dataclasses.replace(config, cameras=(), lidar=None)), progress=False
    )
    return dataclasses.replace(log, mounts=tuple(camera.mount() for camera in config.cameras))


def street_config(folder: pathlib.Path) -> StreetConfig:
    """What the streets in a folder were made with.

    Raises:
        RunError: if the folder does not say.
    """
    try:
        fields = json.loads((folder / "run.json").read_text(encoding="utf-8"))["street"]
        cameras = tuple(CameraConfig(**{**one, "position": tuple(one["position"])}) for one in fields["cameras"])
        lidar = LidarConfig(**{**fields["lidar"], "position": tuple(fields["lidar"]["position"])})
        return StreetConfig(**{**fields, "cameras": cameras, "lidar": lidar})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder}: run.json does not say how its streets were made ({error!r}); fit them again"
        ) from error


def splat_world(streets: Sequence[FittedStreet], size: tuple[int, int]) -> World:
    """Fitted streets as one world, drawn as splats.

    Args:
        streets: one or more.
        size: of the policy's images, pixels.
    """
    world = made_on_host(lambda: join_worlds([_with_rig(one, size) for one in streets]))
    return dataclasses.replace(world, source=_splat_cameras(streets))


def _splat_cameras(streets: Sequence[FittedStreet]) -> SplatCameras:
    def unpacked() -> SplatCameras:
        return join_cameras([_cameras(one.scene, one.levels, UNPACKED) for one in streets])

    cameras = made_on_host(unpacked)
    return drawn_by(cameras, dataclasses.replace(cameras.config, backend=AS_FITS))


def _with_rig(one: FittedStreet, size: tuple[int, int]) -> World:
    return dataclasses.replace(one.world, rig=rig_of_scene(policy_rig(one.log, *size), one.log.ego))


def cameras_of(scene: Scene, folder: pathlib.Path | None = None) -> SplatCameras:
    """What draws a scene for a policy: its policy-resolution form, from its folder where that is given."""
    levels = load_levels(folder) if folder is not None and not _is_small(scene) else _levels_of(scene)
    return _cameras(scene, levels, AS_FITS)


def _cameras(scene: Scene, levels: Levels | None, backend: str) -> SplatCameras:
    if levels is None:
        return exact_cameras(scene, dataclasses.replace(EXACT_RENDER, backend=backend))
    return policy_cameras(levels, scene, dataclasses.replace(POLICY_RENDER, backend=backend))


def _levels_of(scene: Scene) -> Levels | None:
    return None if _is_small(scene) else build_levels(scene)


def _is_small(scene: Scene) -> bool:
    return int(np.asarray(scene.gaussians.valid).sum()) < FEW_SPLATS


def _write_maps(obstacles: occupancy.DistanceField, height: ground.HeightField, path: pathlib.Path) -> None:
    """Which cells are occupied, of which the distances follow exactly, and the ground's height in millimetres.

    Raises:
        ValueError: if the ground is not within 32 m of the origin's height.
    """
    occupied = np.asarray(obstacles.distance) < 0
    values = np.asarray(height.height)
    known = values > ground.UNKNOWN / 2
    if np.abs(values[known]).max(initial=0.0) > 32.0:
        raise ValueError(f"the ground lies up to {np.abs(values[known]).max():.1f} m from z = 0, expected within 32 m")
    millimetres = np.where(known, np.round(1000 * np.where(known, values, 0.0)), _UNKNOWN).astype(np.int16)
    with open(path, "wb") as stream:
        np.savez_compressed(
            stream,
            occupied=np.packbits(occupied, axis=1),
            columns=occupied.shape[1],
            obstacles_origin=np.asarray(obstacles.origin),
            obstacles_cell=np.asarray(obstacles.cell),
            ground=millimetres,
            ground_origin=np.asarray(height.origin),
            ground_cell=np.asarray(height.cell),
        )


def _read_maps(path: pathlib.Path) -> tuple[occupancy.DistanceField, ground.HeightField]:
    with np.load(path, allow_pickle=False) as archive:
        occupied = np.unpackbits(archive["occupied"], axis=1, count=int(archive["columns"])).astype(bool)
        obstacles = occupancy.distance_field(occupied, archive["obstacles_origin"], float(archive["obstacles_cell"]))
        millimetres = archive["ground"]
        heights = np.where(millimetres == _UNKNOWN, ground.UNKNOWN, millimetres / 1000)
        return obstacles, ground.HeightField(
            jnp.asarray(heights, jnp.float32),
            jnp.asarray(archive["ground_origin"]),
            jnp.asarray(archive["ground_cell"]),
        )

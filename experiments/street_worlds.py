"""Worlds of procedural streets without recording or fitting anything: a log of map and traffic, assembled to splats."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from benchmark_rows import BenchmarkError
from host_processes import side_by_side

from jaxrecon import street
from jaxrecon.logs import CameraMount, DrivingLog
from jaxrecon.render import RasterConfig, RenderConfig
from jaxrecon.scene import Levels, build_levels
from jaxrecon.scene.assembled import AssembleConfig, AssembledWorld, assemble
from jaxrecon.simulator import (
    POLICY_RENDER,
    CameraRig,
    SplatCameras,
    World,
    build_world,
    exact_cameras,
    join_cameras,
    join_worlds,
    policy_cameras,
    policy_rig,
)
from jaxrecon.simulator.rigs import rig_of_scene
from jaxrecon.street import CameraConfig, StreetConfig

AHEAD, LEFT, RIGHT, BEHIND = 0.0, 60.0, -60.0, 180.0  # degrees to the left
MOVING = (5, 3, 2, 4)  # moving cars of one street after another


def street_log(config: StreetConfig, seed: int, size: tuple[int, int], yaws_deg: tuple[float, ...]) -> DrivingLog:
    """A street's map, traffic and drive, and the mounts of cameras that look so many degrees to the left."""
    log = street.record(dataclasses.replace(config, cameras=(), lidar=None), seed, progress=False)
    return dataclasses.replace(log, mounts=mounts_of(size, yaws_deg))


def mounts_of(size: tuple[int, int], yaws_deg: Sequence[float]) -> tuple[CameraMount, ...]:
    """Cameras that look so many degrees to the left."""
    named = (CameraConfig(f"yaw{yaw:+.0f}", size[0], size[1], yaw_deg=yaw) for yaw in yaws_deg)
    return tuple(camera.mount() for camera in named)


@dataclasses.dataclass(frozen=True)
class StreetWorld:
    """A street made into splats.

    Attributes:
        log: its map, traffic and drive.
        made: splats, obstacles, ground.
        levels: the policy-resolution form.
    """

    log: DrivingLog
    made: AssembledWorld
    levels: Levels


def make_street(
    config: StreetConfig, seed: int, size: tuple[int, int], yaws_deg: tuple[float, ...], assembly: AssembleConfig
) -> StreetWorld:
    """A street made of splats as configured."""
    log = street_log(config, seed, size, yaws_deg)
    made = assemble(log, assembly)
    return StreetWorld(log, made, build_levels(made.scene))


def make_streets(
    configs: Sequence[StreetConfig], size: tuple[int, int], yaws_deg: tuple[float, ...], assembly: AssembleConfig
) -> list[StreetWorld]:
    """A street of each configuration, by its number for a seed, side by side."""
    make = partial(make_street, size=size, yaws_deg=yaws_deg, assembly=assembly)
    return side_by_side(make, configs, range(len(configs)))


def busy_street(config: StreetConfig, seed: int, moving: Sequence[int] = MOVING) -> StreetConfig:
    """The configuration with as many moving cars as streets have in turn."""
    return dataclasses.replace(config, moving=moving[seed % len(moving)])


def policy_cameras_of(streets: list[StreetWorld]) -> SplatCameras:
    """What draws all of them, in their policy-resolution form."""
    return join_cameras([policy_cameras(one.levels, one.made.scene, POLICY_RENDER) for one in streets])


def exact_cameras_of(streets: list[StreetWorld]) -> SplatCameras:
    """What draws all of them, every splat."""
    return join_cameras([exact_cameras(one.made.scene) for one in streets])


def world_of(streets: list[StreetWorld], source: SplatCameras) -> World:
    """All of them in one world, with all their cameras."""
    return join_made([(one.log, one.made) for one in streets], source)


def join_made(made: Sequence[tuple[DrivingLog, AssembledWorld]], source: SplatCameras) -> World:
    """Logs with the worlds that were assembled for them, in one world, with all their cameras."""
    worlds = [
        dataclasses.replace(build_world(log, None, None, one.obstacles, ground=one.ground), rig=_mounted(log))
        for log, one in made
    ]
    return join_worlds(worlds, source)


def with_cameras(world: World, count: int) -> World:
    """The same world with the first so many cameras of its rig."""
    rig = world.rig
    fewer = dataclasses.replace(
        rig,
        ego_from_camera=rig.ego_from_camera[:, :count],
        intrinsics=rig.intrinsics[:, :count],
        names=rig.names[:count],
    )
    return dataclasses.replace(world, rig=fewer)


def state_world(config: StreetConfig, seed: int) -> tuple[World, DrivingLog]:
    """A street without cameras, and its log."""
    log = street_log(config, seed, (96, 64), ())
    made = assemble(log, AssembleConfig(capacity=60_000))  # for what stands beside the road
    return build_world(log, None, None, made.obstacles, ground=made.ground), log


def _mounted(log: DrivingLog) -> CameraRig:
    return rig_of_scene(policy_rig(log, *log.mounts[0].size), log.ego)


def small_street(size: tuple[int, int] = (24, 16), seconds: float = 4.0, seed: int = 0) -> World:
    """A street that a CPU makes in seconds: 12,000 splats, all drawn, and one camera ahead."""
    config = StreetConfig(layout="curve", length=120.0, seconds=seconds, moving=3, parked=3, pedestrians=1)
    log = street_log(config, seed, size, (AHEAD,))
    made = assemble(log, AssembleConfig(capacity=12_000))
    # A camera of 24x16 pixels needs some 9,000 pairs.
    render = RenderConfig(antialiased=True, raster=RasterConfig(pairs_per_camera=12_000))
    return build_world(
        log, exact_cameras(made.scene, render), policy_rig(log, *size), made.obstacles, ground=made.ground
    )


def road_points(log: DrivingLog) -> int:
    """Vertices of the map's road edges."""
    assert log.road_map is not None
    return int(np.sum([len(edge) for edge in log.road_map.road_edges]))


def moving_actors(log: DrivingLog, metres: float = 2.0) -> int:
    """Tracks that move at least so far between the log's ends."""
    ends = np.stack([track.world_from_box[[0, -1], :2, 3] for track in log.tracks])
    return int((np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1) > metres).sum())


def scene_notes(streets: Sequence[StreetWorld], least_splats: int, least_moving: int = 0) -> dict[str, Any]:
    """What a row of a benchmark tells of its streets.

    Raises:
        BenchmarkError: one has fewer splats or moving actors than asked for.
    """
    splats = [int(one.made.scene.gaussians.valid.sum()) for one in streets]
    moving = [moving_actors(one.log) for one in streets]
    if min(splats) < least_splats:
        number = int(np.argmin(splats))
        raise BenchmarkError(
            f"street {number} has {splats[number]} splats; expected at least {least_splats}: make it of finer ones"
        )
    if min(moving) < least_moving:
        raise BenchmarkError(
            f"street {int(np.argmin(moving))} has {min(moving)} moving actors; expected at least {least_moving}"
        )
    return {
        "scenes": len(streets),
        "least_splats_of_a_scene": min(splats),
        "least_moving_actors_of_a_scene": min(moving),
    }

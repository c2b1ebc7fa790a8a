"""Worlds of procedural streets without recording or fitting anything: a log of map and traffic, assembled to splats."""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

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
from jaxrecon.street import CameraConfig, StreetConfig

AHEAD, LEFT, RIGHT = 0.0, 60.0, -60.0  # degrees to the left


def street_log(config: StreetConfig, seed: int, size: tuple[int, int], yaws_deg: tuple[float, ...]) -> DrivingLog:
    """A street's map, traffic and drive, and the mounts of cameras that look so many degrees to the left."""
    log = street.record(dataclasses.replace(config, cameras=(), lidar=None), seed, progress=False)
    cameras = [CameraConfig(width=size[0], height=size[1], yaw_deg=yaw) for yaw in yaws_deg]
    mounts = tuple(
        CameraMount(f"yaw{yaw:+.0f}", one.intrinsics(), size, one.ego_from_camera())
        for yaw, one in zip(yaws_deg, cameras, strict=True)
    )
    return dataclasses.replace(log, mounts=mounts)


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
    config: StreetConfig, seed: int, size: tuple[int, int], yaws_deg: tuple[float, ...], splats: int
) -> StreetWorld:
    """A street of at most so many splats."""
    log = street_log(config, seed, size, yaws_deg)
    made = assemble(log, AssembleConfig(capacity=splats))
    return StreetWorld(log, made, build_levels(made.scene))


def make_streets(
    config: StreetConfig, count: int, size: tuple[int, int], yaws_deg: tuple[float, ...], splats: int
) -> list[StreetWorld]:
    """The first so many streets, side by side."""
    make = partial(make_street, config, size=size, yaws_deg=yaws_deg, splats=splats)
    first = make(0)  # compiles what the others use
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [first, *pool.map(make, range(1, count))]


def policy_cameras_of(streets: list[StreetWorld]) -> SplatCameras:
    """What draws all of them, in their policy-resolution form."""
    return join_cameras([policy_cameras(one.levels, one.made.scene, POLICY_RENDER) for one in streets])


def exact_cameras_of(streets: list[StreetWorld]) -> SplatCameras:
    """What draws all of them, every splat."""
    return join_cameras([exact_cameras(one.made.scene) for one in streets])


def world_of(streets: list[StreetWorld], source: SplatCameras) -> World:
    """All of them in one world, with all their cameras."""
    worlds = [
        dataclasses.replace(
            build_world(one.log, None, None, one.made.obstacles, ground=one.made.ground), rig=_mounted(one.log)
        )
        for one in streets
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
    rig = policy_rig(log, *log.mounts[0].size)
    return dataclasses.replace(rig, ego_from_camera=rig.ego_from_camera[None], intrinsics=rig.intrinsics[None])


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

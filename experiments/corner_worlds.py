"""The worlds in which corner cases are made: procedural streets and logs of motion, assembled to splats."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runs import RunError
from street_worlds import street_log

from jaxrecon.logs import CameraMount, DrivingLog, read_log
from jaxrecon.render import RenderConfig
from jaxrecon.scene.assembled import AssembleConfig, AssembledWorld, assemble
from jaxrecon.simulator import World, build_world, exact_cameras, join_cameras, join_worlds, policy_rig
from jaxrecon.street import CameraConfig, StreetConfig

FRONT, REAR = 0.0, 180.0  # degrees to the left: who comes from behind can be seen too
TRAFFIC = (5, 3, 2, 4)  # moving cars of one street after another


def corner_world(scenes: Sequence[str], size: tuple[int, int], splats: int) -> tuple[World, list[DrivingLog]]:
    """All scenes in one world before a camera ahead and one behind, and their logs.

    Args:
        scenes: each ``street:SEED`` or the path of a log of motion.
        size: of the cameras' images, pixels.
        splats: most of a scene.

    Raises:
        RunError: if there are none, or one is neither.
    """
    if not scenes:
        raise RunError("--scenes names none; expected street:SEED or paths of logs")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(lambda scene: _scene(scene, size, splats), scenes))
    render = RenderConfig(antialiased=True)
    worlds = []
    for log, one in made:
        world = build_world(log, None, None, one.obstacles, ground=one.ground)
        rig = policy_rig(log, *size)
        rig = dataclasses.replace(rig, ego_from_camera=rig.ego_from_camera[None], intrinsics=rig.intrinsics[None])
        worlds.append(dataclasses.replace(world, rig=rig))
    source = join_cameras([exact_cameras(one.scene, render) for _, one in made])
    return join_worlds(worlds, source), [log for log, _ in made]


def _scene(scene: str, size: tuple[int, int], splats: int) -> tuple[DrivingLog, AssembledWorld]:
    kind, colon, seed = scene.partition(":")
    if kind == "street" and colon and seed.isdigit():
        config = StreetConfig(moving=TRAFFIC[int(seed) % len(TRAFFIC)])
        log = street_log(config, int(seed), size, (FRONT, REAR))
    elif pathlib.Path(scene).exists():
        cameras = [
            CameraConfig(name=f"yaw{yaw:+.0f}", width=size[0], height=size[1], yaw_deg=yaw) for yaw in (FRONT, REAR)
        ]
        mounts = tuple(CameraMount(one.name, one.intrinsics(), size, one.ego_from_camera()) for one in cameras)
        log = dataclasses.replace(read_log(scene), mounts=mounts, cameras=())
    else:
        raise RunError(f"--scenes {scene!r} is neither street:SEED nor the path of a log")
    return log, assemble(log, AssembleConfig(capacity=splats))

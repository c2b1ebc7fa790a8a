"""The worlds in which corner cases are made: procedural streets and logs of motion, assembled to splats."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runs import RunError
from street_worlds import AHEAD, BEHIND, busy_street, join_made, mounts_of, street_log

from jaxrecon.logs import DrivingLog, read_log
from jaxrecon.render import RenderConfig
from jaxrecon.scene.assembled import AssembleConfig, AssembledWorld, assemble
from jaxrecon.simulator import World, exact_cameras, join_cameras
from jaxrecon.street import StreetConfig

EYES = (AHEAD, BEHIND)  # who comes from behind can be seen too


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
    source = join_cameras([exact_cameras(one.scene, RenderConfig(antialiased=True)) for _, one in made])
    return join_made(made, source), [log for log, _ in made]


def _scene(scene: str, size: tuple[int, int], splats: int) -> tuple[DrivingLog, AssembledWorld]:
    kind, colon, seed = scene.partition(":")
    if kind == "street" and colon and seed.isdecimal():
        log = street_log(busy_street(StreetConfig(), int(seed)), int(seed), size, EYES)
    elif pathlib.Path(scene).exists():
        log = dataclasses.replace(read_log(scene), mounts=mounts_of(size, EYES), cameras=())
    else:
        raise RunError(f"--scenes {scene!r} is neither street:SEED nor the path of a log")
    return log, assemble(log, AssembleConfig(capacity=splats))

"""Film a drive that `reconstruct.py` rebuilt: along the recorded path or beside it, as a camera and as a policy see it.

    python experiments/film.py --run outputs/scene --aside 2

writes ``drive.mp4`` into the run's folder: the scene at the size of the film, the same moment in its policy-resolution
form, and the bird's-eye view. A file with the suffix .webp becomes an animated WebP, for pages.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import tyro
from filming import NO_EVENTS, ground_of, moment
from jaxtyping import UInt8
from PIL import Image
from policy_form import SIZE, TALL, WIDE
from runs import Run, RunError
from stages import first_camera, open_log

from jaxrecon import viz
from jaxrecon.geometry.cameras import rescale_intrinsics
from jaxrecon.logs import DrivingLog, LogError
from jaxrecon.reconstruct.policy_views import Path, draw_path
from jaxrecon.render import Cameras, RenderConfig, levels_arena, quantise, scene_arena
from jaxrecon.scene import Scene, SceneError, load_levels, load_scene, occupancy
from jaxrecon.scene.occupancy import DistanceField
from jaxrecon.simulator.cameras import POLICY_RENDER
from jaxrecon.storage import StorageError

ABOVE = viz.BirdsEyeConfig(width=320, height=320, metres=80.0)


@dataclasses.dataclass(frozen=True)
class Film:
    """What to film.

    Attributes:
        run: folder of `reconstruct.py`.
        out: the film; drive.mp4 in the run's folder by default.
        seconds: of the drive, from its start; all of it by default.
        aside: metres by which the camera is moved to the left of the recorded path.
        width: of the drawn images, pixels; that of the fitted ones by default.
        every: frames of the log from one of the film to the next.
    """

    run: pathlib.Path
    out: pathlib.Path | None = None
    seconds: float = float("inf")
    aside: float = 0.0
    width: int | None = None
    every: int = 1


def main(config: Film) -> pathlib.Path:
    """Draw and write the film; returns its path.

    Raises:
        RunError: the folder is not one of a finished `reconstruct.py`, or nothing of the drive is left to film.
    """
    if config.every < 1:
        raise RunError(f"--every is {config.every}; expected at least 1")
    log, scene, path = _load(config)
    frames = np.flatnonzero(log.timestamps - log.timestamps[0] <= config.seconds)[:: config.every]
    if not len(frames):
        raise RunError(f"--seconds {config.seconds} leaves no frame of {log.name} to film")
    along = path.take(frames)
    zero = jnp.zeros(along.moments)
    along = along.moved(zero + config.aside, zero, zero)
    camera = draw_path(scene_arena(scene), scene, along, RenderConfig())
    policy = draw_path(levels_arena(load_levels(config.run / "scene")), scene, _policy(along), POLICY_RENDER)
    out = config.out or config.run / "drive.mp4"
    rate = max(1, round(1 / (log.seconds_per_frame * config.every)))
    pictures = (np.asarray(quantise(camera)), np.asarray(quantise(policy)))
    viz.write_video(_composed(log, frames, *pictures, config.aside), out, rate)
    print(f"{len(frames)} frames: {out}")
    return out


def _load(config: Film) -> tuple[DrivingLog, Scene, Path]:
    """The log, the scene, and its first camera in all frames where the fit has it."""
    if not (config.run / "fitted.npz").exists():
        raise RunError(f"{config.run} holds no fitted.npz; pass the folder that `reconstruct.py --out` wrote")
    kept = json.loads((config.run / "run.json").read_text(encoding="utf-8"))
    log = open_log(kept["log"], Run(config.run, kept).stage("log", _missing))
    recorded = first_camera(log).size
    with np.load(config.run / "fitted.npz") as fitted:
        poses, actors, valid = (fitted[name] for name in ("world_from_camera", "world_from_actor", "actor_valid"))
        own, intrinsics = _fitted_size(fitted["intrinsics"], recorded, log), fitted["intrinsics"][: log.frames]
    width = config.width or own[0]
    size = (width, round(width * recorded[1] / recorded[0]))
    intrinsics = rescale_intrinsics(intrinsics, own, size)
    cameras = Cameras(jnp.asarray(poses[: log.frames]), jnp.asarray(intrinsics, jnp.float32), *size)
    return log, load_scene(config.run / "scene")[0], Path(cameras, jnp.asarray(actors), jnp.asarray(valid))


def _fitted_size(intrinsics: np.ndarray, recorded: tuple[int, int], log: DrivingLog) -> tuple[int, int]:
    """Size of the images that were fitted, which the focal lengths tell."""
    share = float(intrinsics[0, 0]) / float(first_camera(log).intrinsics[0])
    return round(share * recorded[0]), round(share * recorded[1])


def _missing(folder: pathlib.Path) -> dict[str, str]:
    raise RunError(f"{folder.parent} holds no stage `log`; run `reconstruct.py` into it again")


def _policy(path: Path) -> Path:
    """What a policy's camera sees from the same places: the same field of view at its resolution."""
    cameras = path.cameras
    width, height = SIZE if cameras.width > WIDE * cameras.height else TALL
    intrinsics = rescale_intrinsics(cameras.intrinsics, (cameras.width, cameras.height), (width, height))
    return dataclasses.replace(path, cameras=Cameras(cameras.world_from_camera, intrinsics, width, height))


def _composed(
    log: DrivingLog, frames: np.ndarray, camera: np.ndarray, policy: np.ndarray, aside: float
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    ground = ground_of(log, _obstacles(log))
    where = f"{abs(aside):g} m to the {'left' if aside > 0 else 'right'}" if aside else "as recorded"
    for number, frame in enumerate(frames.tolist()):
        caption = f"{log.name[-32:]}   {log.timestamps[frame] - log.timestamps[0]:.1f} s   {where}"
        height, width = camera.shape[1:3]
        small = np.asarray(Image.fromarray(policy[number]).resize((width, height), Image.Resampling.NEAREST))
        above = viz.draw_birds_eye(ABOVE, ground, moment(log, frame))
        yield viz.compose_frame(np.stack([camera[number], small]), above, NO_EVENTS, caption, max(width, 512))


def _obstacles(log: DrivingLog) -> DistanceField:
    return occupancy.from_lidar(log) if any(len(cloud) for cloud in log.lidar) else occupancy.empty()


if __name__ == "__main__":
    try:
        main(tyro.cli(Film, description=__doc__))
    except (RunError, LogError, StorageError, SceneError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

"""Films of drives: what the cameras saw beside the same moment from above, and the moment in which a clip ends."""

import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxrecon import viz
from jaxrecon.agents.driving import Clips
from jaxrecon.agents.evaluate import Film
from jaxrecon.logs import DrivingLog
from jaxrecon.simulator import Rollout, World

PAUSE = 8  # frames that a clip's last image stays


def ground_in(log: DrivingLog, world: World, scene: int) -> viz.Ground:
    """What does not move in the view from above."""
    fields = jax.device_get(world.obstacles)
    layout, shape = fields.layout, tuple(fields.layout.shape[scene])
    first = layout.offset[scene]
    distance = fields.distance[first : first + shape[0] * shape[1]].reshape(shape)
    rows, columns = np.nonzero(distance < 0)
    cells = layout.origin[scene] + np.stack([columns, rows], axis=-1) * layout.cell[scene]
    road = log.road_map
    return viz.Ground(
        route=np.asarray(world.reference.vertex_position[scene, :, :2], float),
        obstacles=cells.astype(float).reshape(-1, 2),
        obstacle_size=float(layout.cell[scene]),
        drivable=road.drivable if road else (),
        lane_lines=road.lane_lines if road else (),
    )


def drive_shots(
    title: str,
    ground: viz.Ground,
    world: World,
    clips: Clips,
    rollout: Rollout,
    film: Film,
    width: int,
    view: viz.BirdsEyeConfig,
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Composed frames of the first of some clips, one a driven step.

    Args:
        title: stands above every frame.
        ground: of the clip's scene.
        world: where it was driven.
        clips: those that were driven together.
        rollout: of all of them.
        film: of the first.
        width: of the cameras' images, pixels.
        view: from above.
    """
    ego = jax.device_get(world.vehicle.at(jnp.asarray(clips.scenes)[0]))
    trace, others = rollout.trace, film.actors
    boxes = np.concatenate([others.centre, others.heading[..., None], others.sizes[..., :2]], axis=-1).astype(float)
    for step in range(int(rollout.valid[:, 0].sum())):
        heading = float(trace.heading[step, 0])
        centre = trace.position[step, 0] + ego.centre_ahead * np.array([np.cos(heading), np.sin(heading)])
        shown = viz.Moment(
            ego=np.array([*centre, heading, ego.length, ego.width]),
            actors=boxes[step + 1, others.valid[step + 1]],
            trail=trace.position[: step + 1, 0].astype(float),
            events=rollout.events[step, 0],
        )
        caption = f"{title}   {trace.time[step, 0]:.1f} s   {3.6 * trace.speed[step, 0]:.0f} km/h"
        yield viz.compose_frame(
            film.frames[step + 1], viz.draw_birds_eye(view, ground, shown), shown.events, caption, width
        )


def write_film(frames: list[UInt8[np.ndarray, "height width 3"]], path: pathlib.Path, rate: int) -> None:
    """The video, and beside it the picture of its last moment."""
    viz.write_video(viz.freeze(frames, PAUSE), path, frames_per_second=rate)
    viz.write_image(frames[-1], path.with_suffix(".png"))


def gallery(pictures: list[pathlib.Path], columns: int = 2) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures in rows, all at the size of the first; white where there are none left."""
    images = [np.asarray(Image.open(path).convert("RGB")) for path in pictures]
    size = images[0].shape[1::-1]
    alike = [np.asarray(Image.fromarray(image).resize(size)) for image in images]
    alike += [np.full_like(alike[0], 255)] * (-len(alike) % columns)
    rows = [np.concatenate(alike[i : i + columns], axis=1) for i in range(0, len(alike), columns)]
    return np.concatenate(rows, axis=0)

"""Imitation data: what the policy sees along the recorded drive, or beside it, and the anchors the expert takes."""

import dataclasses

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8
from PIL import Image

from jaxrecon.dynamics import HORIZON, nearest
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.simulator.moments import events_of, moment_at, recorded_moment
from jaxrecon.simulator.observation import observe
from jaxrecon.simulator.recorded import expert_displacement
from jaxrecon.simulator.rigs import CameraRig
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.starts import perturbed, select
from jaxrecon.simulator.state import Observation, Perturbation, SimulatorParams, Start


@flax.struct.dataclass
class Demonstrations:
    """Observations with the expert's anchors.

    Attributes:
        observation: as in the simulator, with the axis (b,) in place of (env,).
        lateral: (b,) int32 index of the lateral anchor.
        longitudinal: (b,) int32 index of the longitudinal anchor.
        valid: (b,) bool, the log shows where the expert was half a second later.
    """

    observation: Observation
    lateral: Int[Array, " b"]
    longitudinal: Int[Array, " b"]
    valid: Bool[Array, " b"]


def demonstrations(
    simulator: Simulator,
    frames: Int[Array, " b"],
    params: SimulatorParams,
    perturbation: Perturbation | None = None,
    images: UInt8[Array, "b camera height width 3"] | None = None,
    draw: bool = True,
    scenes: Int[Array, " b"] | None = None,
) -> Demonstrations:
    """Demonstrations at log frames, jittable; call it in chunks where drawing all at once needs too much memory.

    Args:
        simulator: rules and world.
        frames: log frames.
        params: thresholds that perturbed poses must keep; those that break one fall back to the recorded pose.
        perturbation: departures from the recorded poses, from which the labels lead back; None stays on them.
        images: what the policy sees, for instance ``recorded_frames(log, rig)[frames]``; drawn where None.
        draw: whether to draw where no images are given; the frames are zeros otherwise.
        scenes: of the frames; the first by default.

    Raises:
        ValueError: if images are given for perturbed poses, which they do not show.
    """
    if images is not None and perturbation is not None:
        raise ValueError("images show the recorded poses, not perturbed ones; give images or perturbation, not both")
    world, config = simulator.world, simulator.config
    scenes = jnp.zeros_like(frames) if scenes is None else scenes
    moment = recorded_moment(world, scenes, frames)
    if perturbation is not None:
        start = Start(scenes, frames, perturbation)
        beside = moment_at(world, scenes, frames, perturbed(world, start, config.limits), moment.projection.arc)
        refused = jnp.any(events_of(world, beside, params), axis=-1)
        moment = select(refused, moment, beside)
    observation, _ = observe(world, moment, config.look_ahead, draw and images is None)
    if images is not None:
        observation = dataclasses.replace(observation, frames=images)
    sideways, ahead = expert_displacement(world, scenes, moment.vehicle, frames)
    wheelbase = world.vehicle.wheelbase[scenes]
    lateral, longitudinal = nearest(sideways, ahead, moment.vehicle.speed, wheelbase, config.limits)
    return Demonstrations(
        observation=observation,
        lateral=lateral,
        longitudinal=longitudinal,
        valid=frames + HORIZON / world.dt <= world.frames[scenes] - 1 + 1e-3,
    )


def recorded_frames(log: DrivingLog, rig: CameraRig) -> UInt8[np.ndarray, "frame camera height width 3"]:
    """The log's images as the rig's cameras would have taken them: cropped, and averaged down.

    Raises:
        KeyError: if the log lacks a camera of the rig.
        ValueError: if a camera of the rig is mounted elsewhere than the log's, or looks beyond its image.
    """
    out = np.zeros((log.frames, rig.count, rig.height, rig.width, 3), np.uint8)
    for number, name in enumerate(rig.names):
        stream = log.camera(name)
        if not np.allclose(stream.ego_from_camera, rig.ego_from_camera[number], atol=1e-4):
            raise ValueError(f"camera {name!r} of the rig is mounted elsewhere than in log {log.name}: draw its frames")
        box = _crop_box(stream.intrinsics, np.asarray(rig.intrinsics[number], np.float64), rig)
        if box[0] < -0.01 or box[1] < -0.01 or box[2] > stream.size[0] + 0.01 or box[3] > stream.size[1] + 0.01:
            raise ValueError(
                f"camera {name!r} of the rig sees pixels {box} of a {stream.size[0]}x{stream.size[1]} image in log "
                f"{log.name}; take a rig inside the recorded view, see policy_rig"
            )
        wide, high = stream.size
        inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(wide)), min(box[3], float(high)))
        for frame, image in enumerate(stream.images):
            resized = Image.fromarray(image).resize((rig.width, rig.height), Image.Resampling.BOX, box=inside)
            out[frame, number] = np.asarray(resized)
    return out


def _crop_box(recorded: np.ndarray, wanted: np.ndarray, rig: CameraRig) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in recorded pixels of a view with the same mount."""
    scale = wanted[:2] / recorded[:2]
    low = recorded[2:] - wanted[2:] / scale
    high = low + np.array([rig.width, rig.height]) / scale
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))

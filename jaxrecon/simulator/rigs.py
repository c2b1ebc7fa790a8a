"""Camera rigs: mounts and intrinsics of a policy's cameras, from a log's own calibration."""

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.geometry.cameras import crop_intrinsics
from jaxrecon.logs.driving_log import CameraMount, CameraStream, DrivingLog, EgoVehicle

REACH, LOWEST, HIGHEST = 0.5, 0.2, 2.0  # metres: beyond the body sideways, above the ground, and above the roof
SKIN = 0.25  # metres of the body's sides and ends, and
GREENHOUSE = 0.6  # of its height, above which it is glass and roof: cameras sit there and look out


@flax.struct.dataclass
class CameraRig:
    """Cameras on the car, all of one image size.

    Attributes:
        ego_from_camera: (camera, 4, 4) rigid mounts; in a ``World`` (scene, camera, 4, 4).
        intrinsics: (camera, 4) fx, fy, cx, cy, pixels; in a ``World`` (scene, camera, 4).
        width: pixels.
        height: pixels.
        names: of the log's cameras that they look through.
    """

    ego_from_camera: Float[Array, "*scene camera 4 4"]
    intrinsics: Float[Array, "*scene camera 4"]
    width: int = flax.struct.field(pytree_node=False)
    height: int = flax.struct.field(pytree_node=False)
    names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())

    @property
    def count(self) -> int:
        """How many cameras there are."""
        return self.intrinsics.shape[-2]


def policy_rig(log: DrivingLog, width: int, height: int, names: Sequence[str] | None = None) -> CameraRig:
    """The log's cameras at a policy's image size: the largest centred crop inside the recorded field of view.

    A log's own calibration is the rig's: KITTI's pair, Argoverse 2's ring, the six of nuScenes. Cameras of which the
    log keeps only where they sat (``DrivingLog.mounts``) will do.

    Args:
        log: the recording.
        width: pixels.
        height: pixels.
        names: which cameras or mounts, in this order; by default all cameras or, where there are none, all mounts.

    Raises:
        KeyError: naming a camera that the log lacks.
        ValueError: if the log has no cameras.
    """
    streams = _seats(log, names)
    if not streams:
        raise ValueError(f"log {log.name} has no cameras to take a policy's view from")
    intrinsics = [crop_intrinsics(stream.intrinsics, stream.size, (width, height)) for stream in streams]
    return CameraRig(
        ego_from_camera=jnp.asarray(np.stack([stream.ego_from_camera for stream in streams]), jnp.float32),
        intrinsics=jnp.asarray(np.stack(intrinsics), jnp.float32),
        width=width,
        height=height,
        names=tuple(stream.name for stream in streams),
    )


def _seats(log: DrivingLog, names: Sequence[str] | None) -> list[CameraStream | CameraMount]:
    if names is None:
        return list(log.cameras or log.mounts)
    known: list[CameraStream | CameraMount] = [*log.mounts, *log.cameras]
    seats = {one.name: one for one in known}
    missing = [name for name in names if name not in seats]
    if missing:
        raise KeyError(f"log {log.name} has no camera {missing[0]!r}; it has {list(seats)}")
    return [seats[name] for name in names]


def rig_of_scene(rig: CameraRig, ego: EgoVehicle) -> CameraRig:
    """A rig as a ``World`` of one scene holds it, with the axis ``scene`` in front.

    Raises:
        ValueError: if a camera is not on the car.
    """
    check_rig(rig, ego)
    return dataclasses.replace(rig, ego_from_camera=rig.ego_from_camera[None], intrinsics=rig.intrinsics[None])


def no_cameras() -> CameraRig:
    """A rig without cameras, for worlds that are only driven in by state."""
    return CameraRig(ego_from_camera=jnp.zeros((0, 4, 4)), intrinsics=jnp.zeros((0, 4)), width=1, height=1)


def join_rigs(rigs: Sequence[CameraRig]) -> CameraRig:
    """The rigs of several worlds, whose mounts and intrinsics may differ.

    Raises:
        ValueError: if they differ in the number of cameras or in the size of the images.
    """
    shapes = {(rig.count, rig.width, rig.height) for rig in rigs}
    if len(shapes) > 1:
        listed = ", ".join(f"{count} of {width}x{height}" for count, width, height in sorted(shapes))
        raise ValueError(f"the worlds' rigs differ in cameras ({listed}); give all the same number and image size")
    first = rigs[0]
    return CameraRig(
        ego_from_camera=jnp.concatenate([rig.ego_from_camera for rig in rigs]),
        intrinsics=jnp.concatenate([rig.intrinsics for rig in rigs]),
        width=first.width,
        height=first.height,
        names=first.names,
    )


def check_rig(rig: CameraRig, ego: EgoVehicle) -> None:
    """Refuse cameras that are not on the car, or look into it: the own body is not drawn, so they would see through it.

    Raises:
        ValueError: naming the camera and its mount, metres in the ego frame.
    """
    front, back = ego.length - ego.rear_overhang, -ego.rear_overhang
    low = np.array([back - REACH, -ego.width / 2 - REACH, LOWEST])
    high = np.array([front + REACH, ego.width / 2 + REACH, ego.height + HIGHEST])
    body_low = np.array([back + SKIN, -ego.width / 2 + SKIN, 0.0])
    body_high = np.array([front - SKIN, ego.width / 2 - SKIN, GREENHOUSE * ego.height])
    for number, mount in enumerate(np.asarray(rig.ego_from_camera, np.float64)):
        name, place = rig.names[number] if rig.names else str(number), mount[:3, 3]
        shown = f"camera {name!r} is mounted at {np.round(place, 2).tolist()} m in the ego frame"
        if (place < low).any() or (place > high).any():
            raise ValueError(
                f"{shown}; expected it on the car, between {low.tolist()} and {high.tolist()}: check the calibration"
            )
        if ((place > body_low) & (place < body_high)).all():
            raise ValueError(f"{shown}, inside the car's own body; mount it on the outside or behind the windows")
        if _enters(place, mount[:3, 2], body_low, body_high):
            raise ValueError(f"{shown} and looks into the car's own body, which is not drawn; turn it or move it")


def _enters(place: np.ndarray, direction: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a ray meets a box."""
    steep = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    first, second = (low - place) / steep, (high - place) / steep
    nearest, farthest = np.minimum(first, second).max(), np.maximum(first, second).min()
    return bool(max(nearest, 0.0) < farthest)

"""Where an environment's frames come from: camera rigs, and the sources that draw them."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from jaxrecon.geometry.cameras import crop_intrinsics
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.render import Cameras, RenderConfig, quantise, render
from jaxrecon.scene.scene import Scene


@flax.struct.dataclass
class CameraRig:
    """Cameras on the car, all of one image size.

    Attributes:
        ego_from_camera: (camera, 4, 4) rigid mounts.
        intrinsics: (camera, 4) fx, fy, cx, cy, pixels.
        width: pixels.
        height: pixels.
        names: of the log's cameras that they look through.
    """

    ego_from_camera: Float[Array, "camera 4 4"]
    intrinsics: Float[Array, "camera 4"]
    width: int = flax.struct.field(pytree_node=False)
    height: int = flax.struct.field(pytree_node=False)
    names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())

    @property
    def count(self) -> int:
        """How many cameras there are."""
        return self.intrinsics.shape[0]


@flax.struct.dataclass
class Drawing:
    """Frames from a source.

    Attributes:
        frames: (camera, height, width, 3) uint8, sRGB.
        overflow: (camera,) bool, frames that lack content because a capacity was too small.
    """

    frames: UInt8[Array, "camera height width 3"]
    overflow: Bool[Array, " camera"]


@runtime_checkable
class CameraSource(Protocol):
    """Anything that can draw a world: a pytree, so that it may pass through jit as part of a ``World``."""

    def draw(
        self,
        cameras: Cameras,
        world_from_actor: Float[Array, "camera actor 4 4"],
        actor_valid: Bool[Array, "camera actor"],
    ) -> Drawing:
        """Frames of a batch of cameras, each with its own actor poses (in the order of the log's tracks)."""
        ...


@flax.struct.dataclass
class SplatCameras:
    """Frames of a reconstructed scene, whose actors are the log's tracks in their order.

    Attributes:
        scene: what to draw.
        config: how.
    """

    scene: Scene
    config: RenderConfig = flax.struct.field(pytree_node=False, default=RenderConfig())

    def draw(
        self,
        cameras: Cameras,
        world_from_actor: Float[Array, "camera actor 4 4"],
        actor_valid: Bool[Array, "camera actor"],
    ) -> Drawing:
        """Frames of a batch of cameras; actor slots beyond the scene's are not drawn."""
        actors = self.scene.actors
        if world_from_actor.shape[1] < actors:
            raise ValueError(
                f"the scene has {actors} actors but the world has only {world_from_actor.shape[1]} slots; build the "
                "world from the log that the scene was reconstructed from"
            )
        drawn = render(self.scene, cameras, world_from_actor[:, :actors], actor_valid[:, :actors], self.config)
        return Drawing(frames=quantise(drawn.rgb), overflow=drawn.overflow)


def policy_rig(log: DrivingLog, width: int, height: int, names: Sequence[str] | None = None) -> CameraRig:
    """The log's cameras at a policy's image size: the largest centred crop inside the recorded field of view.

    Args:
        log: the recording.
        width: pixels.
        height: pixels.
        names: which cameras, in this order; all of them by default.

    Raises:
        KeyError: naming a camera that the log lacks.
        ValueError: if the log has no cameras.
    """
    streams = log.cameras if names is None else [log.camera(name) for name in names]
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


def no_cameras() -> CameraRig:
    """A rig without cameras, for worlds that are only driven in by state."""
    return CameraRig(ego_from_camera=jnp.zeros((0, 4, 4)), intrinsics=jnp.zeros((0, 4)), width=1, height=1)

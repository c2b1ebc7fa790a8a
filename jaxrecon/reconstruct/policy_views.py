"""Small images along a drive, as a policy's camera takes them, of any form of a scene."""

import dataclasses
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxrecon.geometry.transforms import rigid
from jaxrecon.reconstruct.corrections import rotation_of
from jaxrecon.reconstruct.score import enlarge
from jaxrecon.render import Arena, Cameras, RenderConfig, Rendering, packed_for, render_arena, scene_arena
from jaxrecon.scene.scene import Scene

EXACT = RenderConfig()
_MOST_GROWTHS = 8
_HEADROOM = 1.3  # of room for pairs over what a call needed
_TOGETHER, _TOGETHER_FINER = 16, 4  # moments of a call


@flax.struct.dataclass
class Path:
    """Where a policy's camera is along a drive, and the actors with it.

    Attributes:
        cameras: one a moment, at the policy's resolution.
        world_from_actor: poses of all boxes at each moment.
        actor_valid: which are there.
    """

    cameras: Cameras
    world_from_actor: Float[Array, "moment actor 4 4"]
    actor_valid: Bool[Array, "moment actor"]

    @property
    def moments(self) -> int:
        """How many there are."""
        return self.actor_valid.shape[0]

    def take(self, chosen: Shaped[Array, " n"] | np.ndarray) -> "Path":
        """Some moments, by their indices."""
        cameras = dataclasses.replace(
            self.cameras,
            world_from_camera=self.cameras.world_from_camera[chosen],
            intrinsics=self.cameras.intrinsics[chosen],
        )
        return Path(cameras, self.world_from_actor[chosen], self.actor_valid[chosen])

    def moved(
        self, side: Float[Array, " moment"], ahead: Float[Array, " moment"], yaw: Float[Array, " moment"]
    ) -> "Path":
        """The cameras moved over the ground and turned about the vertical, all else at its place.

        Args:
            side: metres to the camera's left.
            ahead: metres the way it looks.
            yaw: radians to the left.
        """
        pose = self.cameras.world_from_camera
        level = pose[:, :2, 2] / jnp.maximum(jnp.linalg.norm(pose[:, :2, 2], axis=1, keepdims=True), 1e-6)
        left = jnp.stack([-level[:, 1], level[:, 0]], axis=-1)
        shift = jnp.pad(side[:, None] * left + ahead[:, None] * level, ((0, 0), (0, 1)))
        turn = rotation_of(jnp.stack([jnp.zeros_like(yaw), jnp.zeros_like(yaw), yaw], axis=-1))
        # Sums of products: a product of matrices would be rounded on an accelerator.
        rotation = jnp.sum(turn[..., :, :, None] * pose[:, None, :3, :3], axis=2)
        cameras = dataclasses.replace(self.cameras, world_from_camera=rigid(rotation, pose[:, :3, 3] + shift))
        return dataclasses.replace(self, cameras=cameras)


def draw_path(
    arena: Arena, scene: Scene, path: Path, config: RenderConfig = EXACT, finer: int = 1
) -> Float[Array, "moment height width 3"]:
    """A form of a scene at every moment, clipped to [0, 1] as a camera would hold it; some moments in a call.

    Args:
        arena: what to draw.
        scene: whose form it is.
        path: where from.
        config: how; its room for pairs grows as needed.
        finer: pixels along a pixel's side that are drawn for it; it holds their mean.

    Raises:
        ValueError: if the images need more room than is sensible.
    """
    together = min(_TOGETHER if finer == 1 else _TOGETHER_FINER, path.moments)
    arena, images = packed_for(arena, config.backend), []
    for first in range(0, path.moments, together):
        index = np.minimum(first + np.arange(together), path.moments - 1)
        for _ in range(_MOST_GROWTHS):
            drawn, overflow, pairs = _draw_some(arena, scene, path, index, config=config, finer=finer)
            if not bool(overflow):
                break
            config = with_room(config, float(pairs))
        else:
            raise ValueError(f"images still lack splats at {config.raster.pairs_per_camera} pairs a camera")
        images.append(drawn[: path.moments - first])
    return jnp.concatenate(images)


def supersampled(
    scene: Scene, path: Path, finer: int, config: RenderConfig = EXACT
) -> Float[Array, "moment height width 3"]:
    """What a policy's pixels would average of the exact scene: ``finer`` times the pixels along each side."""
    return draw_path(scene_arena(scene), scene, path, config, finer)


def with_room(config: RenderConfig, pairs: float) -> RenderConfig:
    """The same renderer with room for so many pairs a camera and some more; more than before in any case.

    Rooms are powers of two, so that paths that need about as much share what is compiled.
    """
    wanted = _HEADROOM * max(pairs, config.raster.pairs_per_camera)
    return enlarge(config, 2.0 ** np.ceil(np.log2(wanted)) / config.raster.pairs_per_camera)


def draw_moments(arena: Arena, scene: Scene, path: Path, config: RenderConfig) -> Rendering:
    """A form of a scene at all moments at once; differentiable in the form."""
    return render_arena(arena, scene, path.cameras, path.world_from_actor, path.actor_valid, config)


@partial(jax.jit, static_argnames=("config", "finer"))
def _draw_some(
    arena: Arena, scene: Scene, path: Path, index: Int[Array, " some"], *, config: RenderConfig, finer: int
) -> tuple[Array, Array, Array]:
    some = path.take(index)
    width, height = some.cameras.width, some.cameras.height
    cameras = dataclasses.replace(
        some.cameras, intrinsics=finer * some.cameras.intrinsics, width=finer * width, height=finer * height
    )
    drawn = draw_moments(arena, scene, dataclasses.replace(some, cameras=cameras), config)
    pixels = jnp.clip(drawn.rgb, 0.0, 1.0).reshape(-1, height, finer, width, finer, 3)
    # The cameras of a call share their room.
    return jnp.mean(pixels, axis=(2, 4)), jnp.any(drawn.overflow), jnp.mean(drawn.pairs)

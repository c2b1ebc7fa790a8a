"""What cameras draw of a form with levels of detail, before anything is drawn."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.kernels import Arena
from jaxrecon.kernels.selection import chosen_clusters, clusters_in_view
from jaxrecon.render.render import Cameras, views_of


@partial(jax.jit, static_argnames="detail")
def clusters_drawn(
    arena: Arena,
    cameras: Cameras,
    world_from_actor: Float[Array, "camera actor 4 4"],
    actor_valid: Bool[Array, "camera actor"],
    detail: float,
) -> Bool[Array, "camera cluster"]:
    """Clusters at the level that suits their distance and whose sphere reaches into the image.

    Args:
        arena: of one scene, with levels of detail.
        cameras: where from.
        world_from_actor: as ``render`` takes it.
        actor_valid: likewise.
        detail: as ``RenderConfig`` has it.

    Raises:
        ValueError: if the arena has no levels of detail.
    """
    if arena.clusters is None:
        raise ValueError("clusters_drawn got an arena without levels of detail; make it with levels_arena")
    views = views_of(world_from_actor.shape[1], cameras, world_from_actor, actor_valid)
    return chosen_clusters(arena.clusters, views, jnp.float32(detail)) & clusters_in_view(arena.clusters, views)

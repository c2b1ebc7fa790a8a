"""Maps of several worlds put into one: grids end to end, lines padded to the most of any."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrecon.geometry.padding import pad_axis
from jaxrecon.scene.fields import LARGEST, DistanceFields, GridLayout
from jaxrecon.scene.roads import SECTORS, Roads
from jaxrecon.simulator.standing import GroundHeights, stack_heights


def join_fields(fields: Sequence[DistanceFields]) -> DistanceFields:
    """Distance fields of several worlds."""
    return DistanceFields(
        distance=jnp.concatenate([one.distance for one in fields]),
        layout=join_layouts([one.layout for one in fields]),
    )


def join_grounds(grounds: Sequence[GroundHeights | None], scenes: Sequence[int]) -> GroundHeights | None:
    """Ground heights of several worlds of so many scenes each; None where none of them has any."""
    if all(one is None for one in grounds):
        return None
    known = [stack_heights([None] * count) if one is None else one for one, count in zip(grounds, scenes, strict=True)]
    return GroundHeights(
        height=jnp.concatenate([one.height for one in known]), layout=join_layouts([one.layout for one in known])
    )


def join_roads(roads: Sequence[Roads]) -> Roads:
    """Roads of several worlds."""
    frames, lines = (max(one.stop.shape[axis] for one in roads) for axis in (1, 2))

    def joined(name: str) -> Array:
        return jnp.concatenate([getattr(one, name) for one in roads])

    def padded(leaf: Array) -> Array:
        return pad_axis(leaf, 1, lines)

    return Roads(
        layout=join_layouts([one.layout for one in roads], SECTORS),
        off_road=joined("off_road"),
        lane_heading=joined("lane_heading"),
        lane_distance=joined("lane_distance"),
        lines=jax.tree.map(
            lambda *leaves: jnp.concatenate([padded(leaf) for leaf in leaves]), *(one.lines for one in roads)
        ),
        stop=jnp.concatenate([pad_axis(pad_axis(one.stop, 1, frames, "edge"), 2, lines) for one in roads]),
        surface_known=joined("surface_known"),
        lanes_known=joined("lanes_known"),
        lights_known=joined("lights_known"),
    )


def join_layouts(layouts: Sequence[GridLayout], channels: int = 1) -> GridLayout:
    """Layouts of grids that are laid end to end.

    Raises:
        ValueError: if they have more values than an index can count.
    """
    cells = [int(np.prod(np.asarray(one.shape, np.int64), axis=1).sum()) for one in layouts]
    if sum(cells) * channels > LARGEST:
        raise ValueError(
            f"the worlds' grids have {sum(cells)} cells of {channels} values, expected at most {LARGEST} values in "
            "all; take larger cells, a smaller reach or fewer scenes"
        )
    starts = np.cumsum([0, *cells[:-1]]).tolist()
    shifted = [dataclasses.replace(one, offset=one.offset + start) for one, start in zip(layouts, starts, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *shifted)

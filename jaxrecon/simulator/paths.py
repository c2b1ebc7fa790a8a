"""Several scenes' paths on the device, and the nearest point of one found near where it was before."""

from collections.abc import Sequence

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.geometry.padding import pad_axis
from jaxrecon.geometry.polylines import Polyline, Projection

SPACING = 0.5  # metres; neighbouring vertices of a path are at least so far apart
BEHIND, AHEAD = 2.0, 8.0  # metres along the path within which the nearest point may move in one step
BUCKET = 1.0  # metres of path for each entry of the table that finds segments by arc length
TABLE = 256  # entries of a table are a multiple of this
SEARCHED = int(np.ceil((BEHIND + AHEAD + BUCKET) / SPACING)) + 1  # segments that may lie within reach
WITHIN_BUCKET = int(np.ceil(BUCKET / SPACING)) + 1  # vertices that may lie within a bucket


@flax.struct.dataclass
class Paths:
    """Polylines of several scenes, padded to the most vertices of any by repeating the last.

    Attributes:
        points: (scene, vertex, 2) metres.
        arc: (scene, vertex) length along the path up to each vertex, metres.
        count: (scene,) int32, vertices in use.
        bucket: (scene, bucket) int32, the segment that holds the start of each ``BUCKET`` metres of the path.
    """

    points: Float[Array, "scene vertex 2"]
    arc: Float[Array, "scene vertex"]
    count: Int[Array, " scene"]
    bucket: Int[Array, "scene bucket"]

    def nearest(self, scene: Int[Array, "*b"], point: Float[Array, "*b 2"], near: Float[Array, "*b"]) -> Projection:
        """Nearest point of a scene's path, at most ``BEHIND`` before and ``AHEAD`` after an arc length (metres).

        Few segments are looked at, however long the path: constant time, and no leap to where the path comes by again.
        """
        first = self._segment_before(scene, near - BEHIND)
        vertex = first[..., None] + jnp.arange(SEARCHED + 1)
        vertex = jnp.minimum(vertex, self.count[scene][..., None] - 1)
        place, arc = self.points[scene[..., None], vertex], self.arc[scene[..., None], vertex]
        x, y = place[..., 0], place[..., 1]
        along_x, along_y = jnp.diff(x, axis=-1), jnp.diff(y, axis=-1)
        squared = along_x * along_x + along_y * along_y
        real = squared > 0
        away_x, away_y = point[..., None, 0] - x[..., :-1], point[..., None, 1] - y[..., :-1]
        share = (away_x * along_x + away_y * along_y) / jnp.where(real, squared, 1.0)
        share = jnp.clip(share, 0.0, 1.0)
        cost = (away_x - share * along_x) ** 2 + (away_y - share * along_y) ** 2
        usable = real & (arc[..., 1:] >= near[..., None] - BEHIND) & (arc[..., :-1] <= near[..., None] + AHEAD)
        best = jnp.argmin(jnp.where(usable, cost, jnp.inf), axis=-1)
        share, cost, along_x, along_y, away_x, away_y, squared, start, end = (
            jnp.take_along_axis(values, best[..., None], axis=-1)[..., 0]
            for values in (share, cost, along_x, along_y, away_x, away_y, squared, arc[..., :-1], arc[..., 1:])
        )
        # The root of a distance of zero has no derivative; the point is on the path then.
        apart = cost > 0
        length = jnp.sqrt(jnp.where(squared > 0, squared, 1.0))
        return Projection(
            arc=start + share * (end - start),
            distance=jnp.where(apart, jnp.sqrt(jnp.where(apart, cost, 1.0)), 0.0),
            lateral=(along_x * away_y - along_y * away_x) / length,
            heading=jnp.arctan2(along_y, along_x),
            segment=jnp.minimum(first + best, self.count[scene] - 2).astype(jnp.int32),
            fraction=share,
        )

    def locate(self, scene: Int[Array, "*b"], arc: Float[Array, "*b"]) -> tuple[Int[Array, "*b"], Float[Array, "*b"]]:
        """Segment (index of its first vertex) and fraction along it of an arc length (metres), clamped to the path."""
        last = self.count[scene] - 1
        arc = jnp.clip(arc, 0.0, self.arc[scene, last])
        first = self._segment_before(scene, arc)
        following = jnp.minimum(first[..., None] + 1 + jnp.arange(WITHIN_BUCKET), last[..., None])
        passed = (self.arc[scene[..., None], following] <= arc[..., None]) & (following < last[..., None])
        segment = first + jnp.sum(passed, axis=-1, dtype=jnp.int32)
        start, end = self.arc[scene, segment], self.arc[scene, segment + 1]
        return segment, (arc - start) / jnp.where(end > start, end - start, 1.0)

    def _segment_before(self, scene: Array, arc: Array) -> Array:
        place = jnp.floor(jnp.maximum(arc, 0.0) / BUCKET).astype(jnp.int32)
        return self.bucket[scene, jnp.minimum(place, self.bucket.shape[1] - 1)]


def as_paths(line: Polyline) -> Paths:
    """The path of one scene.

    Raises:
        ValueError: if vertices are nearer to one another than ``SPACING``, the last in use aside.
    """
    arc, count = np.asarray(line.arc), int(line.count)
    steps = np.diff(arc[: count - 1])
    if len(steps) and steps.min() < 0.99 * SPACING:
        raise ValueError(f"the path has vertices {steps.min():.3f} m apart; expected at least {SPACING} m")
    # Tables of few lengths, so that logs of as many frames share what is compiled for them.
    entries = -(-int(arc[count - 1] / BUCKET + 1) // TABLE) * TABLE
    starts = BUCKET * np.arange(entries)
    bucket = np.clip(np.searchsorted(arc[:count], starts, side="right") - 1, 0, count - 2)
    return Paths(line.points[None], line.arc[None], line.count[None], jnp.asarray(bucket[None], jnp.int32))


def join_paths(paths: Sequence[Paths]) -> Paths:
    """Several scenes' paths, padded to the most vertices of any."""
    vertices = max(one.arc.shape[1] for one in paths)
    buckets = max(one.bucket.shape[1] for one in paths)

    def joined(leaves: Sequence[Array], to: int) -> Array:
        return jnp.concatenate([pad_axis(leaf, 1, to, "edge") for leaf in leaves])

    return Paths(
        points=joined([one.points for one in paths], vertices),
        arc=joined([one.arc for one in paths], vertices),
        count=jnp.concatenate([one.count for one in paths]),
        bucket=joined([one.bucket for one in paths], buckets),
    )

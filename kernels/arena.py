"""What goes into a rasterizer: Gaussians of one or many scenes laid end to end, and the cameras that look at them."""

import flax.struct
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

CLUSTER = 128  # consecutive Gaussians that are culled, and chosen by level of detail, together


@flax.struct.dataclass
class Clusters:
    """A level-of-detail hierarchy: runs of ``CLUSTER`` consecutive Gaussians, each the content of one cell.

    A cell of a coarser level holds the merged content of the cells below it. A camera draws a cluster where its own
    cell is far enough to look small and the cell above it is not: with d(.) the distance from the camera to a cell's
    cube and f the larger focal length in pixels, where f * near <= detail * d(cell) and detail * d(parent) < f * far.
    Cells nest and a cluster's ``far`` is the ``near`` of the cluster above: every place is drawn at exactly one level.

    Attributes:
        centre: centre of a sphere around everything in the cluster, in the frame of its group, metres.
        radius: of that sphere, metres.
        group: rigid body of the cluster; all its Gaussians belong to it.
        cell: lowest corner and side of the cluster's cell, in the frame of its group, metres.
        parent: the same of the cell above.
        near: size in metres of what was merged into one Gaussian; 0 at the finest level.
        far: the same of the level above; infinity at the coarsest.
    """

    centre: Float[Array, "cluster 3"]
    radius: Float[Array, " cluster"]
    group: Int[Array, " cluster"]
    cell: Float[Array, "cluster 4"]
    parent: Float[Array, "cluster 4"]
    near: Float[Array, " cluster"]
    far: Float[Array, " cluster"]


@flax.struct.dataclass
class Arena:
    """Gaussians of one or many scenes, laid end to end.

    Attributes:
        means: centres in the frame of their group, metres.
        quaternions: ``wxyz``, any non-zero norm.
        scales: standard deviations, metres.
        opacities: in [0, 1]; below 1/255 a Gaussian is not drawn.
        sh: spherical-harmonic colour, (degree + 1)^2 coefficients, degree 0 to 3.
        group: rigid body of each Gaussian within its scene, an index into ``Views.camera_from_group``'s second axis.
        scene_start: first Gaussian of each scene, and the end of the last; None: one scene.
        clusters: level of detail, one entry for every ``CLUSTER`` Gaussians; None: everything is drawn.
        packed: all this as the backend ``gpu`` reads it, made by ``prepack`` for an arena that is drawn often and does
            not change; None: made in each drawing.
        largest_scene: static bound on the Gaussians of one scene; 0: all of them.
    """

    means: Float[Array, "n 3"]
    quaternions: Float[Array, "n 4"]
    scales: Float[Array, "n 3"]
    opacities: Float[Array, " n"]
    sh: Float[Array, "n k 3"]
    group: Int[Array, " n"]
    scene_start: Int[Array, " starts"] | None = None
    clusters: Clusters | None = None
    packed: Float[Array, "n 16"] | None = None
    largest_scene: int = flax.struct.field(pytree_node=False, default=0)

    @property
    def count(self) -> int:
        """Slots for Gaussians, of all scenes."""
        return self.means.shape[0]


@flax.struct.dataclass
class Views:
    """A batch of pinhole cameras of one image size, and where the rigid groups are for each.

    Attributes:
        camera_from_group: rigid pose of each group in each camera.
        group_valid: groups to draw, per camera.
        intrinsics: fx, fy, cx, cy, pixels.
        scene: which scene of the arena each camera looks at; None: the first.
        width: pixels.
        height: pixels.
    """

    camera_from_group: Float[Array, "camera group 4 4"]
    group_valid: Bool[Array, "camera group"]
    intrinsics: Float[Array, "camera 4"]
    scene: Int[Array, " camera"] | None = None
    width: int = flax.struct.field(pytree_node=False, default=0)
    height: int = flax.struct.field(pytree_node=False, default=0)

    @property
    def count(self) -> int:
        """How many cameras there are."""
        return self.intrinsics.shape[0]

    @property
    def centres(self) -> Float[Array, "camera group 3"]:
        """Where each camera is in the frame of each group, metres."""
        # Not as a product of matrices: accelerators round the factors of those.
        x, y, z = (self.camera_from_group[..., i, :3] * self.camera_from_group[..., i, 3:] for i in range(3))
        return -(x + y + z)


def check_structure(arena: Arena, views: Views) -> None:
    """Raise for shapes that do not fit together; runs while tracing, so it costs nothing afterwards.

    Raises:
        ValueError: naming the field, what arrived and what was expected.
    """
    check_gaussians(arena)
    if views.count == 0:
        raise ValueError("views holds 0 cameras; expected at least 1; without a camera skip the drawing")
    if views.width < 1 or views.height < 1:
        raise ValueError(f"an image of {views.width}x{views.height} pixels was asked for; expected at least 1x1")
    cameras, groups = views.camera_from_group.shape[:2]
    if groups == 0:
        raise ValueError("views.camera_from_group poses 0 groups; expected at least 1, which the static world is")
    if views.intrinsics.shape != (cameras, 4) or views.group_valid.shape != (cameras, groups):
        raise ValueError(
            f"{cameras} cameras with {groups} groups, but intrinsics {views.intrinsics.shape} and group_valid "
            f"{views.group_valid.shape}; expected ({cameras}, 4) and ({cameras}, {groups})"
        )
    if (views.scene is None) != (arena.scene_start is None):
        raise ValueError("views.scene and arena.scene_start go together: give both for several scenes, neither for one")


def check_gaussians(arena: Arena) -> None:
    """Raise for an arena whose shapes do not fit together.

    Raises:
        ValueError: naming the field, what arrived and what was expected.
    """
    n, coefficients = arena.count, arena.sh.shape[1]
    if n == 0:
        raise ValueError(
            "the arena holds 0 Gaussians; expected at least 1. To draw nothing give it slots of opacity 0, as "
            "scene.empty(capacity) makes them"
        )
    if coefficients not in (1, 4, 9, 16):
        raise ValueError(f"sh has {coefficients} coefficients; expected 1, 4, 9 or 16, for degree 0 to 3")
    shapes = {"quaternions": (n, 4), "scales": (n, 3), "opacities": (n,), "sh": (n, coefficients, 3), "group": (n,)}
    for name, expected in shapes.items():
        if getattr(arena, name).shape != expected:
            raise ValueError(
                f"arena.{name} has shape {getattr(arena, name).shape}; expected {expected}, one a Gaussian"
            )
    if arena.clusters is not None:
        if n % CLUSTER:
            raise ValueError(f"an arena with clusters holds {n} Gaussians; expected a multiple of {CLUSTER}")
        if arena.clusters.near.shape != (n // CLUSTER,):
            raise ValueError(f"{arena.clusters.near.shape[0]} clusters for {n} Gaussians; expected {n // CLUSTER}")


def validate_arena(arena: Arena) -> None:
    """Check an arena's numbers on the host, once, where it is loaded or built.

    Rendering itself needs no such check: a Gaussian that is not finite is not drawn.

    Raises:
        ValueError: naming the field and the first offending Gaussians.
    """
    host = jax.device_get(arena)
    for name in ("means", "quaternions", "scales", "opacities", "sh"):
        values = np.asarray(getattr(host, name))
        bad = np.flatnonzero(~np.isfinite(values).reshape(values.shape[0], -1).all(axis=1))
        if bad.size:
            raise ValueError(
                f"arena.{name} is not finite for {bad.size} of {values.shape[0]} Gaussians, first {bad[:5].tolist()}; "
                "remove them or set their opacity to 0"
            )
    if host.scene_start is not None:
        starts = np.asarray(host.scene_start)
        sizes = np.diff(starts)
        if starts[0] < 0 or starts[-1] > arena.count or (sizes < 0).any():
            raise ValueError(f"arena.scene_start is {starts.tolist()}; expected rising offsets within {arena.count}")
        if arena.largest_scene and sizes.max(initial=0) > arena.largest_scene:
            raise ValueError(f"a scene has {sizes.max()} Gaussians; largest_scene says {arena.largest_scene} at most")

"""The shapes of one compiled rasterizer."""

import dataclasses

from jaxrecon.kernels.arena import CLUSTER, Arena, Views
from jaxrecon.kernels.gpu.launch import Program
from jaxrecon.kernels.raster import RasterConfig

SIDE = 8  # pixels of a tile's side; a thread draws a pixel
REGION = (4, 8)  # tiles across and down that share a list
WORD = 32  # pairs; capacities are a multiple
FEWEST_DEPTH_BITS, MOST_DEPTH_BITS = 12, 25  # of a sort key; the kernels tell no more depths apart
FEW_CAMERAS, RUN_OF_FEW, RUN_OF_MANY = 4, 2, 128
MOST_PAIRS = 280_000_000  # drawn at once; each takes 24 bytes


@dataclasses.dataclass(frozen=True)
class Plan:
    """Shapes of one compiled rasterizer.

    Attributes:
        cameras: in a call.
        groups: rigid bodies of a camera.
        gaussians: slots of the arena.
        clusters: that one camera's scene can span.
        run: clusters whose pairs one block writes.
        pairs: capacity.
        width: of an image, pixels.
        height: of an image, pixels.
        degree: of the spherical harmonics.
        antialiased: see ``rasterize``.
        paired: whether pairs are kept for a gradient.
    """

    cameras: int
    groups: int
    gaussians: int
    clusters: int
    run: int
    pairs: int
    width: int
    height: int
    degree: int
    antialiased: bool
    paired: bool

    @property
    def region(self) -> tuple[int, int]:
        """Tiles across and down that share a list; a gradient wants each tile's pairs by themselves."""
        return (1, 1) if self.paired else REGION

    @property
    def regions(self) -> int:
        """Regions of one image."""
        return regions_of(self.width, self.height, self.region)

    @property
    def blocks(self) -> int:
        """Blocks that draw: one for every tile of every region, also for those beyond the image's edge."""
        return self.cameras * self.regions * self.region[0] * self.region[1]

    @property
    def runs(self) -> int:
        """Runs of clusters of a camera."""
        return -(-self.clusters // self.run)

    @property
    def depth_bits(self) -> int:
        """Bits of a sort key that hold the depth: what the region leaves, whose greatest number marks unused room."""
        return min(32 - (self.cameras * self.regions).bit_length(), MOST_DEPTH_BITS)

    @property
    def program(self) -> Program:
        """The kernels for these shapes."""
        constants = {
            "CAMERAS": self.cameras, "GROUPS": self.groups, "GAUSSIANS": self.gaussians, "CLUSTERS": self.clusters,
            "RUN": self.run, "PAIRS": self.pairs, "WIDTH": self.width, "HEIGHT": self.height,
            "REGION_X": self.region[0], "REGION_Y": self.region[1],
            "DEPTH_BITS": self.depth_bits, "DEGREE": self.degree, "ANTIALIASED": int(self.antialiased),
            "PAIRED": int(self.paired),
        }  # fmt: skip
        return Program(tuple(constants.items()))


def regions_of(width: int, height: int, region: tuple[int, int]) -> int:
    """Regions of an image."""
    return -(-width // (SIDE * region[0])) * -(-height // (SIDE * region[1]))


def cameras_in_a_pass(views: Views, config: RasterConfig) -> int:
    """Cameras to draw at once: what the region leaves of a sort key must tell most depths of a region apart.

    Lists of some regions are many times the mean, and equal keys cost time (never order).
    """
    regions = regions_of(views.width, views.height, REGION)
    wanted = min(max(FEWEST_DEPTH_BITS, (8 * config.pairs_per_camera // regions).bit_length()), 24)
    most = max(1, min(((1 << (32 - wanted)) - 1) // regions, MOST_PAIRS // config.pairs_per_camera))
    most = min(most, config.cameras_per_pass or most)
    passes = -(-views.count // most)
    return -(-views.count // passes)


def make_plan(arena: Arena, views: Views, antialiased: bool, config: RasterConfig, paired: bool) -> Plan:
    """Choose the shapes for a call.

    Raises:
        ValueError: if there are too many regions for the sort key.
    """
    largest = arena.largest_scene or arena.count
    # A scene that begins within a cluster reaches into one more.
    clusters = min(-(-largest // CLUSTER) + (arena.scene_start is not None), -(-arena.count // CLUSTER))
    plan = Plan(
        cameras=views.count,
        groups=views.camera_from_group.shape[1],
        gaussians=arena.count,
        clusters=clusters,
        run=RUN_OF_MANY if views.count >= FEW_CAMERAS else RUN_OF_FEW,
        pairs=-(-views.count * config.pairs_per_camera // WORD) * WORD,
        width=views.width,
        height=views.height,
        degree=round(arena.sh.shape[1] ** 0.5) - 1,
        antialiased=antialiased,
        paired=paired,
    )
    if plan.depth_bits < FEWEST_DEPTH_BITS:
        raise ValueError(
            f"{plan.cameras} cameras of {plan.width}x{plan.height} leave {plan.depth_bits} bits of a sort key for "
            f"depth; expected at least {FEWEST_DEPTH_BITS}: set RasterConfig.cameras_per_pass"
        )
    return plan

"""What a rasterizer takes besides arrays, and what it answers."""

import dataclasses

import flax.struct
from jaxtyping import Array, Bool, Float, Int

NEAR, FAR = 0.01, 1e10  # metres
BLUR = 0.3  # square pixels, added to the projected covariance
MINIMUM_ALPHA = 1 / 255
MAXIMUM_ALPHA = 0.999
MINIMUM_TRANSMITTANCE = 1e-4
MAXIMUM_EXTENT = 3.33  # standard deviations


@dataclasses.dataclass(frozen=True)
class RasterConfig:
    """Structure of the tiled rasterizer; every field changes the compiled program, none the image.

    Attributes:
        pairs_per_camera: room for (splat, tile) pairs, averaged over the cameras of a call. Too little raises
            ``Raster.overflow``, never a silently wrong image.
        tile: side of a square tile, pixels.
        splats_per_step: splats that a tile composites at once.
        tiles_per_block: tiles that advance in lockstep. Few suit a CPU's caches, many a GPU's width; 0 picks.
    """

    pairs_per_camera: int = 65536
    tile: int = 8
    splats_per_step: int = 32
    tiles_per_block: int = 0

    def __post_init__(self) -> None:
        for field, least in (("pairs_per_camera", 1), ("tile", 1), ("splats_per_step", 1), ("tiles_per_block", 0)):
            value = getattr(self, field)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"RasterConfig.{field} is {value!r}; expected an integer >= {least}")


DEFAULT_RASTER = RasterConfig()


@flax.struct.dataclass
class Raster:
    """Composited images.

    Attributes:
        rgb: colour without background, sum of w c.
        depth: expected z-depth in metres, sum of w z over sum of w; zero where nothing was hit.
        alpha: sum of w, in [0, 1).
        overflow: cameras whose list of pairs did not fit; their images lack splats and must not be used.
        pairs: how many (splat, tile) pairs each camera needed.
    """

    rgb: Float[Array, "camera height width 3"]
    depth: Float[Array, "camera height width"]
    alpha: Float[Array, "camera height width"]
    overflow: Bool[Array, " camera"]
    pairs: Int[Array, " camera"]

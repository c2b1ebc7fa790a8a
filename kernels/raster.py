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
MINIMUM_COMPENSATION = 1e-5  # of a squared opacity factor, with antialiasing: less is below 1/255 whatever the opacity


@dataclasses.dataclass(frozen=True)
class RasterConfig:
    """Structure of the tiled rasterizers; every field changes the compiled program, none the image.

    Attributes:
        pairs_per_camera: room for (splat, tile) pairs, averaged over the cameras of a call. Too little raises
            ``Raster.overflow``, never a silently wrong image. A pair is one of the backend's own tiles: ``calibrate``
            finds the number for a backend.
        clusters_per_camera: room for clusters of an arena with level of detail in each camera, on the backends
            ``xla`` and ``tpu``; 0: every cluster fits.
        cameras_per_pass: most cameras to draw at once, to bound the memory; 0: the backend's own choice.
        tile: side of a square tile of the backend ``xla``, pixels.
        splats_per_step: splats that a tile composites at once.
        tiles_per_block: tiles that advance in lockstep. Few suit a CPU's caches, many a GPU's width; 0 picks.
    """

    pairs_per_camera: int = 65536
    clusters_per_camera: int = 0
    cameras_per_pass: int = 0
    tile: int = 8
    splats_per_step: int = 32
    tiles_per_block: int = 0

    def __post_init__(self) -> None:
        least_of = {"pairs_per_camera": 1, "tile": 1, "splats_per_step": 1}
        for field in (one.name for one in dataclasses.fields(self)):
            value, least = getattr(self, field), least_of.get(field, 0)
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
        overflow: cameras whose splats did not all fit; their images lack some and must not be used.
        pairs: room for (splat, tile) pairs that each camera needed.
        clusters: room for clusters that each camera needed (0 without level of detail, and where none is set aside).
    """

    rgb: Float[Array, "camera height width 3"]
    depth: Float[Array, "camera height width"]
    alpha: Float[Array, "camera height width"]
    overflow: Bool[Array, " camera"]
    pairs: Int[Array, " camera"]
    clusters: Int[Array, " camera"]

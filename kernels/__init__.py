"""Splat rasterization: arrays in, arrays out."""

from jaxrecon.kernels.arena import CLUSTER, Arena, Clusters, Views, validate_arena
from jaxrecon.kernels.gpu.packing import prepack
from jaxrecon.kernels.raster import DEFAULT_RASTER, Raster, RasterConfig
from jaxrecon.kernels.rasterize import BACKENDS, calibrate, grow, pick_backend, rasterize

__all__ = [
    "BACKENDS",
    "CLUSTER",
    "DEFAULT_RASTER",
    "Arena",
    "Clusters",
    "Raster",
    "RasterConfig",
    "Views",
    "calibrate",
    "grow",
    "pick_backend",
    "prepack",
    "rasterize",
    "validate_arena",
]

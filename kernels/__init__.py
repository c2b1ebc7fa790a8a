"""Splat rasterization: arrays in, arrays out."""

from jaxrecon.kernels.raster import DEFAULT_RASTER, Raster, RasterConfig
from jaxrecon.kernels.rasterize import BACKENDS, rasterize

__all__ = ["BACKENDS", "DEFAULT_RASTER", "Raster", "RasterConfig", "rasterize"]

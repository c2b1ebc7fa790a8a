"""From a scene and cameras to images."""

from jaxrecon.kernels import RasterConfig
from jaxrecon.render.render import Cameras, RenderConfig, Rendering, quantise, render, scene_arena

__all__ = ["Cameras", "RasterConfig", "RenderConfig", "Rendering", "quantise", "render", "scene_arena"]

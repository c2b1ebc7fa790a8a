"""From a scene and cameras to images."""

from jaxrecon.kernels import RasterConfig
from jaxrecon.render.arenas import levels_arena, scene_arena
from jaxrecon.render.render import Cameras, RenderConfig, Rendering, quantise, render, render_arena

__all__ = [
    "Cameras",
    "RasterConfig",
    "RenderConfig",
    "Rendering",
    "levels_arena",
    "quantise",
    "render",
    "render_arena",
    "scene_arena",
]

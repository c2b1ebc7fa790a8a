"""From a scene and cameras to images."""

from jaxrecon.kernels import Arena, RasterConfig
from jaxrecon.render.arenas import join_arenas, levels_arena, packed_for, scene_arena
from jaxrecon.render.render import (
    Cameras,
    RenderConfig,
    Rendering,
    directions_of,
    quantise,
    render,
    render_arena,
    render_scenes,
)

__all__ = [
    "Arena",
    "Cameras",
    "RasterConfig",
    "RenderConfig",
    "Rendering",
    "directions_of",
    "join_arenas",
    "levels_arena",
    "packed_for",
    "quantise",
    "render",
    "render_arena",
    "render_scenes",
    "scene_arena",
]

"""The scene graph of Gaussians, its obstacles, and its files."""

from jaxrecon.scene.files import SceneError, load_scene, save_scene
from jaxrecon.scene.gaussians import Gaussians, concatenate, empty
from jaxrecon.scene.levels import Levels, LevelsConfig, build_levels, join_levels
from jaxrecon.scene.ply import PlyError, read_ply, write_ply
from jaxrecon.scene.scene import Scene, sky_colour

__all__ = [
    "Gaussians",
    "Levels",
    "LevelsConfig",
    "PlyError",
    "Scene",
    "SceneError",
    "build_levels",
    "concatenate",
    "empty",
    "join_levels",
    "load_scene",
    "read_ply",
    "save_scene",
    "sky_colour",
    "write_ply",
]

"""The scene graph of Gaussians, its obstacles, and its files."""

from jaxrecon.scene.files import SceneError, load_scene, save_scene
from jaxrecon.scene.gaussians import Gaussians, concatenate, empty
from jaxrecon.scene.ply import PlyError, read_ply, write_ply
from jaxrecon.scene.scene import Scene, sky_colour

__all__ = [
    "Gaussians",
    "PlyError",
    "Scene",
    "SceneError",
    "concatenate",
    "empty",
    "load_scene",
    "read_ply",
    "save_scene",
    "sky_colour",
    "write_ply",
]

"""The scene graph of Gaussians, its obstacles, and its files."""

from jaxrecon.scene.assets import Asset, BankError, WellSeen, extract_actors, insert_actor
from jaxrecon.scene.bank import load_bank, save_bank
from jaxrecon.scene.compact import load_compact, save_compact
from jaxrecon.scene.files import SceneError, load_levels, load_scene, save_scene
from jaxrecon.scene.gaussians import Gaussians, concatenate, empty
from jaxrecon.scene.levels import Levels, LevelsConfig, build_levels, join_levels
from jaxrecon.scene.parts import read_parts, write_parts
from jaxrecon.scene.ply import PlyError, read_ply, write_ply
from jaxrecon.scene.scene import Scene, sky_colour
from jaxrecon.scene.spz import SpzConfig, SpzError, read_spz, write_spz

__all__ = [
    "Asset",
    "BankError",
    "Gaussians",
    "Levels",
    "LevelsConfig",
    "PlyError",
    "Scene",
    "SceneError",
    "SpzConfig",
    "SpzError",
    "WellSeen",
    "build_levels",
    "concatenate",
    "empty",
    "extract_actors",
    "insert_actor",
    "join_levels",
    "load_bank",
    "load_compact",
    "load_levels",
    "load_scene",
    "read_parts",
    "read_ply",
    "read_spz",
    "save_bank",
    "save_compact",
    "save_scene",
    "sky_colour",
    "write_parts",
    "write_ply",
    "write_spz",
]

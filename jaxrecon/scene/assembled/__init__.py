"""Worlds assembled from logs that have a map and traffic but no images."""

from jaxrecon.scene.assembled.assemble import DEFAULT_CONFIG, AssembledWorld, assemble
from jaxrecon.scene.assembled.config import AssembleConfig

__all__ = ["DEFAULT_CONFIG", "AssembleConfig", "AssembledWorld", "assemble"]

"""Folders that are written whole or not at all, and verified when they are read."""

from jaxrecon.storage.folders import MANIFEST, Manifest, StorageError, read_folder, write_folder

__all__ = ["MANIFEST", "Manifest", "StorageError", "read_folder", "write_folder"]

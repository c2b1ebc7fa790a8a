"""A scene as separate PLY files, background and actors, for tools that view or edit one thing at a time."""

import json
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrecon.scene.exporting import body, with_degree
from jaxrecon.scene.files import SceneError, validate_scene
from jaxrecon.scene.gaussians import concatenate
from jaxrecon.scene.ply import read_ply, write_vertices
from jaxrecon.scene.scene import Scene
from jaxrecon.storage import StorageError, read_folder, write_folder

KIND, VERSION = "scene-parts", 1
_NOTE = "scene.json"


def write_parts(scene: Scene, path: str | os.PathLike[str], overwrite: bool = False) -> str:
    """Write the background, and each actor in its own box frame, as PLY files in the convention of 3DGS.

    The folder holds ``background.ply`` (world frame), ``actor_000.ply`` and so on (box frames: x forward, y left, z up,
    metres, origin at the centre), and ``scene.json`` with the boxes' sizes and the sky. Nothing is rounded.

    Args:
        scene: the world; invalid slots are left out, as the format has no place for them.
        path: folder to create; it appears whole or not at all.
        overwrite: replace a folder that exists.

    Returns:
        Content hash of the folder.

    Raises:
        SceneError: if the scene is not sound; nothing is written then.
        StorageError: if the path exists and ``overwrite`` is false.
    """
    validate_scene(scene)
    note = {
        "actor_sizes": np.asarray(scene.actor_sizes).tolist(),
        "sky": np.asarray(scene.sky).tolist(),  # a float32 survives as the shortest text of the same double
    }

    def write(folder: pathlib.Path) -> None:
        for group in range(scene.actors + 1):
            with open(folder / _name(group), "wb") as stream:
                write_vertices(body(scene, group), stream)
        (folder / _NOTE).write_text(json.dumps(note, allow_nan=False), encoding="utf-8")

    return write_folder(pathlib.Path(path), write, kind=KIND, version=VERSION, metadata={}, overwrite=overwrite)


def read_parts(path: str | os.PathLike[str], edited: bool = False) -> Scene:
    """Read a scene from the folder that ``write_parts`` wrote.

    Args:
        path: the folder.
        edited: other tools have changed the parts since: their checksums are not compared. Parts of a lower
            spherical-harmonic degree than others get coefficients of zero.

    Returns:
        The scene; all its slots are valid, the background's first, then actor by actor.

    Raises:
        StorageError: if the folder is missing or incomplete, or was changed and ``edited`` is false.
        PlyError: if a part cannot be read.
        SceneError: if ``scene.json`` cannot be read or contradicts the parts.
    """
    folder = pathlib.Path(path)
    if not edited:
        _verify(folder)
    sizes, sky = _read_note(folder / _NOTE)
    sets = [read_ply(folder / _name(group)) for group in range(len(sizes) + 1)]
    coefficients = max(part.sh.shape[1] for part in sets)
    scene = Scene(
        gaussians=concatenate([with_degree(part, coefficients) for part in sets]),
        group=jnp.asarray(np.repeat(np.arange(len(sets)), [part.capacity for part in sets]), jnp.int32),
        sky=jnp.asarray(sky),
        actor_sizes=jnp.asarray(sizes),
    )
    try:
        validate_scene(scene)
    except SceneError as error:
        raise SceneError(f"{folder}: {error}; write the parts again") from error
    return scene


def _name(group: int) -> str:
    return "background.ply" if group == 0 else f"actor_{group - 1:03d}.ply"


def _verify(folder: pathlib.Path) -> None:
    try:
        read_folder(folder, kind=KIND, version=VERSION)
    except StorageError as error:
        remedy = f"{error.remedy}. Where another tool changed it on purpose, pass edited=True"
        raise StorageError(error.file, expected=error.expected, received=error.received, remedy=remedy) from error


def _read_note(file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Sizes (actor, 3) and sky (row, column, 3)."""
    try:
        note: Any = json.loads(file.read_text(encoding="utf-8"))
        sizes = np.asarray(note["actor_sizes"], np.float32)
        sky = np.asarray(note["sky"], np.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError(f"{file}: no sizes and sky could be read ({error!r}); write the parts again") from error
    sizes = sizes.reshape(0, 3) if sizes.size == 0 else sizes
    if sizes.ndim != 2 or sizes.shape[1] != 3:
        raise SceneError(f"{file}: actor_sizes has shape {sizes.shape}, expected (actors, 3); write the parts again")
    return sizes, sky

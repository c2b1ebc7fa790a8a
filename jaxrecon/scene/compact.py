"""Scenes on disk in a fraction of their size: Gaussians as SPZ, the sky in eight bits; rounded, unlike ``files``."""

import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrecon.scene.files import SceneError, validate_scene
from jaxrecon.scene.scene import Scene
from jaxrecon.scene.spz import SpzConfig, read_spz, write_spz
from jaxrecon.storage import read_folder, write_folder

KIND, VERSION = "compact-scene", 1
_GAUSSIANS, _REST = "gaussians.spz", "rest.npz"
DEFAULT_SPZ = SpzConfig()
_NAMES = ("group_counts", "sky", "actor_sizes")


def save_compact(
    scene: Scene,
    path: str | os.PathLike[str],
    metadata: dict[str, Any] | None = None,
    overwrite: bool = False,
    config: SpzConfig = DEFAULT_SPZ,
) -> str:
    """Write a scene as a folder of some 17 bytes a Gaussian (of degree 0), ``spz.write_spz`` says how well kept.

    Args:
        scene: the world; invalid slots are left out. Actors stay in their own box frames.
        path: folder to create; it appears whole or not at all.
        metadata: anything JSON can hold that should travel with it.
        overwrite: replace a scene that exists.
        config: precision of the Gaussians.

    Returns:
        Content hash of the folder.

    Raises:
        SceneError: if the scene is not sound; nothing is written then.
        SpzError: if it has no Gaussian, or one lies too far away.
        StorageError: if the path exists and ``overwrite`` is false.
    """
    validate_scene(scene)
    used = np.asarray(scene.group)[np.asarray(scene.gaussians.valid)]
    rest = {
        "group_counts": np.bincount(used, minlength=scene.actors + 1).astype(np.int32),
        "sky": np.round(255 * np.clip(np.asarray(scene.sky), 0.0, 1.0)).astype(np.uint8),
        "actor_sizes": np.asarray(scene.actor_sizes),
    }
    own_frames = np.tile(np.eye(4), (scene.actors, 1, 1))

    def write(folder: pathlib.Path) -> None:
        write_spz(scene, folder / _GAUSSIANS, own_frames, config=config)
        with open(folder / _REST, "wb") as stream:
            np.savez_compressed(stream, **rest)

    return write_folder(
        pathlib.Path(path), write, kind=KIND, version=VERSION, metadata=metadata or {}, overwrite=overwrite
    )


def load_compact(path: str | os.PathLike[str]) -> tuple[Scene, dict[str, Any]]:
    """Read a scene and the metadata it was saved with.

    Returns:
        The scene; all its slots are valid, the background's first, then actor by actor. And the metadata.

    Raises:
        StorageError: if the folder is missing, incomplete, altered or of another kind or version.
        SceneError: if its parts contradict one another.
        SpzError: if the Gaussians cannot be read.
    """
    folder = pathlib.Path(path)
    manifest = read_folder(folder, kind=KIND, version=VERSION)
    gaussians = read_spz(folder / _GAUSSIANS)
    with np.load(folder / _REST, allow_pickle=False) as archive:
        missing = [name for name in _NAMES if name not in archive.files]
        if missing:
            raise SceneError(f"{path}: {_REST} lacks {missing}; save the scene again")
        counts, sky, sizes = (archive[name] for name in _NAMES)
    if counts.shape != (len(sizes) + 1,) or counts.sum() != gaussians.capacity:
        raise SceneError(
            f"{path}: {_REST} counts {counts.sum()} Gaussians of {len(counts)} bodies, {_GAUSSIANS} has "
            f"{gaussians.capacity}, of the background and {len(sizes)} actors; save the scene again"
        )
    scene = Scene(
        gaussians=gaussians,
        group=jnp.asarray(np.repeat(np.arange(len(counts)), counts), jnp.int32),
        sky=jnp.asarray(sky, jnp.float32) / 255,
        actor_sizes=jnp.asarray(sizes),
    )
    validate_scene(scene)
    return scene, dict(manifest.metadata)

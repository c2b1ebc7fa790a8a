"""Scenes on disk: one folder with a checksum manifest, written whole or not at all."""

import dataclasses
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.levels import Levels, LevelsConfig, build_levels
from jaxrecon.scene.scene import Scene
from jaxrecon.storage import read_folder, write_folder

KIND, VERSION = "scene", 1
_ARRAYS, _LEVELS = "scene.npz", "levels.npz"
_DTYPES = {"group": np.int32, "valid": np.bool_}
_NAMES = ("means", "quaternions", "log_scales", "opacity_logits", "sh", "valid", "group", "sky", "actor_sizes")
_LEVEL_NAMES = tuple(field.name for field in dataclasses.fields(Levels))
DEFAULT_LEVELS = LevelsConfig()


class SceneError(ValueError):
    """A scene whose arrays contradict one another; the message names the array, what it holds and what it should."""


def save_scene(
    scene: Scene,
    path: str | os.PathLike[str],
    metadata: dict[str, Any] | None = None,
    overwrite: bool = False,
    levels: Levels | LevelsConfig | None = DEFAULT_LEVELS,
) -> str:
    """Write a scene and its policy-resolution form as a folder.

    Args:
        scene: the world; all slots are kept, so that it loads exactly as it was.
        path: folder to create.
        metadata: anything JSON can hold that should travel with it (log, frames, quality).
        overwrite: replace a scene that exists.
        levels: the policy-resolution form, or how to build it; None: the folder holds none.

    Returns:
        Content hash of the folder.

    Raises:
        SceneError: if the scene is not sound; nothing is written then.
        StorageError: if the path exists and ``overwrite`` is false.
    """
    arrays = _arrays(scene)
    _validate(arrays)
    if isinstance(levels, LevelsConfig):
        levels = build_levels(scene, levels) if arrays["valid"].any() else None
    form = {} if levels is None else {name: np.asarray(getattr(levels, name)) for name in _LEVEL_NAMES}

    def write(folder: pathlib.Path) -> None:
        for name, content in ((_ARRAYS, arrays), (_LEVELS, form)):
            if content:
                with open(folder / name, "wb") as stream:
                    np.savez(stream, **content)  # type: ignore[arg-type]

    return write_folder(
        pathlib.Path(path), write, kind=KIND, version=VERSION, metadata=metadata or {}, overwrite=overwrite
    )


def load_scene(path: str | os.PathLike[str]) -> tuple[Scene, dict[str, Any]]:
    """Read a scene and the metadata it was saved with.

    Raises:
        StorageError: if the folder is missing, incomplete, altered or of another kind or version.
        SceneError: if its arrays contradict one another.
    """
    manifest = read_folder(pathlib.Path(path), kind=KIND, version=VERSION)
    with np.load(pathlib.Path(path) / _ARRAYS, allow_pickle=False) as archive:
        missing = [name for name in _NAMES if name not in archive.files]
        if missing:
            raise SceneError(f"{path}: {_ARRAYS} lacks {missing}; save the scene again")
        arrays = {name: archive[name] for name in _NAMES}
    _validate(arrays)
    fields = {name: jnp.asarray(value) for name, value in arrays.items()}
    group, sky, actor_sizes = (fields.pop(name) for name in ("group", "sky", "actor_sizes"))
    return Scene(Gaussians(**fields), group, sky, actor_sizes), dict(manifest.metadata)


def load_levels(path: str | os.PathLike[str]) -> Levels:
    """Read the policy-resolution form of a scene.

    Raises:
        StorageError: if the folder is missing, incomplete, altered or of another kind or version.
        SceneError: if it holds none.
    """
    folder = pathlib.Path(path)
    read_folder(folder, kind=KIND, version=VERSION)
    if not (folder / _LEVELS).exists():
        raise SceneError(f"{path} holds no policy-resolution form ({_LEVELS}); save the scene with levels to have one")
    with np.load(folder / _LEVELS, allow_pickle=False) as archive:
        return Levels(**{name: jnp.asarray(archive[name]) for name in _LEVEL_NAMES})


def validate_scene(scene: Scene) -> None:
    """Check shapes, ranges and finiteness on the host.

    Raises:
        SceneError: naming the array, the first offending entry and what was expected.
    """
    _validate(_arrays(scene))


def _arrays(scene: Scene) -> dict[str, np.ndarray]:
    named = {name: getattr(scene.gaussians, name) for name in _NAMES[:6]}
    named |= {"group": scene.group, "sky": scene.sky, "actor_sizes": scene.actor_sizes}
    return {name: np.asarray(value) for name, value in named.items()}


def _validate(arrays: dict[str, np.ndarray]) -> None:
    slots, actors = arrays["means"].shape[0], arrays["actor_sizes"].shape[0]
    coefficients = arrays["sh"].shape[1] if arrays["sh"].ndim == 3 else 0
    if coefficients not in (1, 4, 9, 16):
        raise SceneError(f"sh has shape {arrays['sh'].shape}, expected (slots, 1 | 4 | 9 | 16, 3)")
    sky = arrays["sky"].shape
    if len(sky) != 3 or sky[0] < 2 or sky[1] < 1 or sky[2] != 3:
        raise SceneError(f"sky has shape {sky}, expected (rows >= 2, columns >= 1, 3)")
    shapes: dict[str, tuple[int, ...]] = {
        "means": (slots, 3),
        "quaternions": (slots, 4),
        "log_scales": (slots, 3),
        "opacity_logits": (slots,),
        "sh": (slots, coefficients, 3),
        "valid": (slots,),
        "group": (slots,),
        "actor_sizes": (actors, 3),
    }
    for name, value in arrays.items():
        if value.shape != shapes.get(name, value.shape):
            raise SceneError(f"{name} has shape {value.shape}, expected {shapes[name]}")
        expected = _DTYPES.get(name, np.float32)
        if value.dtype != expected:
            raise SceneError(f"{name} is {value.dtype}, expected {np.dtype(expected)}")
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            raise SceneError(f"{name}{bad[0].tolist()} is {value[tuple(bad[0])]}, expected a finite number")
    outside = np.flatnonzero((arrays["group"] < 0) | (arrays["group"] > actors))
    if len(outside):
        found = arrays["group"][outside[0]]
        raise SceneError(f"group[{outside[0]}] is {found}, expected 0 (static) to {actors} (the last actor)")
    degenerate = np.flatnonzero(np.linalg.norm(arrays["quaternions"], axis=-1) < 1e-12)
    if len(degenerate):
        raise SceneError(
            f"quaternions[{degenerate[0]}] is zero, expected a non-zero norm; invalid slots hold (1, 0, 0, 0)"
        )

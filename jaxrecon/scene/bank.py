"""A bank of actors on disk: one folder with a checksum manifest, written whole or not at all."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrecon.scene.assets import Asset, BankError
from jaxrecon.scene.files import SceneError, validate_scene
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.scene import Scene
from jaxrecon.storage import read_folder, write_folder

KIND, VERSION = "actor-bank", 1
_LEAVES = ("means", "quaternions", "log_scales", "opacity_logits", "sh", "valid")


def save_bank(
    assets: Sequence[Asset],
    path: str | os.PathLike[str],
    metadata: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> str:
    """Write assets as a folder; they may come from several scenes and differ in capacity.

    Args:
        assets: the bank.
        path: folder to create; it appears whole or not at all.
        metadata: anything JSON can hold that should travel with it (logs, scenes, licence).
        overwrite: replace a bank that exists.

    Returns:
        Content hash of the folder.

    Raises:
        BankError: if an asset is not sound, or there is none; nothing is written then.
        StorageError: if the path exists and ``overwrite`` is false.
    """
    if not assets:
        raise BankError(f"{path}: no asset to write; lower what WellSeen asks of an actor")
    for number, asset in enumerate(assets):
        _validate(asset, f"asset {number}")
    notes = [{"name": asset.name, "category": asset.category} for asset in assets]

    def write(folder: pathlib.Path) -> None:
        for number, asset in enumerate(assets):
            arrays = {leaf: np.asarray(getattr(asset.gaussians, leaf)) for leaf in _LEAVES}
            arrays |= {"size": np.asarray(asset.size), "coverage": np.asarray(asset.coverage)}
            with open(folder / _file(number), "wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]

    note = {"assets": notes, "metadata": metadata or {}}
    return write_folder(pathlib.Path(path), write, kind=KIND, version=VERSION, metadata=note, overwrite=overwrite)


def load_bank(path: str | os.PathLike[str]) -> tuple[list[Asset], dict[str, Any]]:
    """Read a bank and the metadata it was saved with.

    Raises:
        StorageError: if the folder is missing, incomplete, altered or of another kind or version.
        BankError: if the arrays of an asset contradict one another.
    """
    folder = pathlib.Path(path)
    note = read_folder(folder, kind=KIND, version=VERSION).metadata
    assets = []
    for number, told in enumerate(note["assets"]):
        file = folder / _file(number)
        with np.load(file, allow_pickle=False) as archive:
            missing = [name for name in (*_LEAVES, "size", "coverage") if name not in archive.files]
            if missing:
                raise BankError(f"{file}: lacks {missing}; save the bank again")
            arrays = {name: jnp.asarray(archive[name]) for name in archive.files}
        gaussians = Gaussians(**{leaf: arrays[leaf] for leaf in _LEAVES})
        asset = Asset(gaussians, arrays["size"], arrays["coverage"], told["name"], told["category"])
        _validate(asset, str(file))
        assets.append(asset)
    return assets, dict(note["metadata"])


def _file(number: int) -> str:
    return f"{number:04d}.npz"


def _validate(asset: Asset, where: str) -> None:
    """An asset is sound where the scene that holds nothing else is."""
    if np.shape(asset.size) != (3,) or np.shape(asset.coverage) != (4,):
        found = f"size of shape {np.shape(asset.size)} and coverage of shape {np.shape(asset.coverage)}"
        raise BankError(f"{where}: {found}, expected (3,) and (4,); extract the actor again")
    group = np.zeros(asset.gaussians.capacity, np.int32)
    scene = Scene(asset.gaussians, group, np.zeros((2, 1, 3), np.float32), asset.size[None])  # type: ignore[arg-type]
    try:
        validate_scene(scene)
    except SceneError as error:
        raise BankError(f"{where}: {error}; extract the actor again") from error

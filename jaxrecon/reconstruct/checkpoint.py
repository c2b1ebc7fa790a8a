"""A descent's state on disk, so that an interrupted fit goes on from where it was."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrecon.reconstruct.descent import DescentState
from jaxrecon.reconstruct.fit_config import FitConfig
from jaxrecon.reconstruct.views import Views
from jaxrecon.storage import read_folder, write_folder

KIND, VERSION = "descent", 1
_ARRAYS = "state.npz"
_BUDGETS = ("steps", "seconds", "curve")  # may differ when a fit is gone on with


class CheckpointError(ValueError):
    """A checkpoint of another fit; the message names the folder, what differs and the remedy."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a kept descent was.

    Attributes:
        seconds: of the fit, without compilation.
        compiling: seconds of compilation.
        pairs_per_camera: room that the renderer turned out to need.
        curve: held-out quality on the way, as numbers.
    """

    seconds: float
    compiling: float
    pairs_per_camera: int
    curve: list[list[float]]


def fingerprint(config: FitConfig, views: Views, key: Array) -> str:
    """What a fit is, budgets left out: two fits of one fingerprint take the same steps."""
    kept = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    kept = {name: value for name, value in kept.items() if name not in _BUDGETS}
    digest = hashlib.sha256(repr(sorted(kept.items())).encode())
    digest.update(np.asarray(jax.random.key_data(key)).tobytes())
    for leaf in jax.tree.leaves(views):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def save_state(path: pathlib.Path, state: DescentState, progress: Progress, mark: str) -> None:
    """Keep a state; what was kept before stays whole until it is written.

    Args:
        path: folder.
        state: to keep.
        progress: how far it is.
        mark: ``fingerprint`` of the fit.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in _named(state)}

    def write(folder: pathlib.Path) -> None:
        with open(folder / _ARRAYS, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    metadata = {"fingerprint": mark, "step": int(state.step), **dataclasses.asdict(progress)}
    write_folder(path, write, kind=KIND, version=VERSION, metadata=metadata, overwrite=True)


def load_state(path: pathlib.Path, like: DescentState, mark: str) -> tuple[DescentState, Progress]:
    """A kept state.

    Args:
        path: folder.
        like: a state of the fit that is gone on with, for its structure.
        mark: ``fingerprint`` of that fit.

    Raises:
        CheckpointError: if it belongs to another fit.
        StorageError: if the folder is incomplete or altered.
    """
    manifest = read_folder(path, kind=KIND, version=VERSION)
    if manifest.metadata["fingerprint"] != mark:
        raise CheckpointError(
            f"{path} keeps another fit (its configuration, log or key differ); expected the one that began it: choose "
            "another folder, or remove this one to begin anew"
        )
    with np.load(path / _ARRAYS) as stored:
        leaves = [jnp.asarray(stored[name]) for name, _ in _named(like)]
    fields = [field.name for field in dataclasses.fields(Progress)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), Progress(**{f: manifest.metadata[f] for f in fields})


def _named(state: Any) -> list[tuple[str, Array]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]

"""State as a value: copied into several futures, written to disk and read back."""

import dataclasses
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxrecon.dynamics import VehicleState
from jaxrecon.simulator.state import State
from jaxrecon.storage import StorageError, read_folder, write_folder
from jaxrecon.traffic.adversary import Acting, Plan
from jaxrecon.traffic.cast import Cast
from jaxrecon.traffic.reacting import Following
from jaxrecon.traffic.road_users import RoadUser

KIND, VERSION = "simulator state", 1
_ARRAYS = "state.npz"


def branch(state: State, futures: int, key: PRNGKeyArray | None = None) -> State:
    """Every environment copied into so many that go on from the same moment.

    Args:
        state: of env environments.
        futures: copies of each.
        key: gives each copy a random future of its own, which begins where its clip ends; None: they share one, and
            whoever acts alike fares alike.

    Returns:
        The state of env * futures environments, the copies of one next to one another.

    Raises:
        ValueError: if futures is less than one.
    """
    if futures < 1:
        raise ValueError(f"branch got {futures} futures; expected at least 1")
    copies = jax.tree.map(lambda leaf: jnp.repeat(leaf, futures, axis=0), state)
    if key is None:
        return copies
    return dataclasses.replace(copies, key=jax.random.split(key, copies.key.shape[0]))


def save_state(state: State, path: str | os.PathLike[str], overwrite: bool = False) -> str:
    """Write a state as a folder with checksums.

    Args:
        state: of any number of environments.
        path: folder to create.
        overwrite: replace a folder that exists.

    Returns:
        Content hash of the folder.

    Raises:
        StorageError: if the path exists and ``overwrite`` is false.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in _named(state).items()}

    def write(folder: pathlib.Path) -> None:
        np.savez(folder / _ARRAYS, **arrays)  # type: ignore[arg-type]

    metadata = {"key": str(jax.random.key_impl(state.key))}
    return write_folder(path, write, kind=KIND, version=VERSION, metadata=metadata, overwrite=overwrite)


def load_state(path: str | os.PathLike[str]) -> State:
    """Read a state; stepped by the same executable it goes on bit for bit as it would have.

    Raises:
        StorageError: if the folder is missing, incomplete, altered or of another kind or version, or its state has
            other fields than this version's.
    """
    manifest = read_folder(path, kind=KIND, version=VERSION)
    with np.load(pathlib.Path(path) / _ARRAYS, allow_pickle=False) as archive:
        arrays = {name: jnp.asarray(archive[name]) for name in archive.files}
    key = arrays.pop("key", None)
    names = {name for name, kind in _fields(State) if kind is None and name != "key"}
    missing, unknown = names - set(arrays), set(arrays) - names
    # What departs from the log is there as a whole, or not at all.
    optional = {name for name in names if name.startswith("cast.")}
    if key is None or unknown or missing not in (set(), optional, _following(names)):
        raise StorageError(
            pathlib.Path(path) / _ARRAYS,
            expected=f"fields {sorted(names | {'key'})}",
            received=f"fields {sorted(set(arrays) | ({'key'} if key is not None else set()))}",
            remedy="load it with the version of jaxrecon that saved it",
        )
    arrays["key"] = jax.random.wrap_key_data(key, impl=manifest.metadata["key"])
    return _built(State, arrays, "")


_PARTS: dict[str, type] = {
    "vehicle": VehicleState, "cast": Cast, "cast.plan": Plan, "cast.acting": Acting, "cast.acting.user": RoadUser,
    "cast.following": Following,
}  # fmt: skip


def _following(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith("cast.following.")}


def _fields(kind: type, prefix: str = "") -> list[tuple[str, type | None]]:
    """Full names of a state's fields and, of those that have fields of their own, their types."""
    found: list[tuple[str, type | None]] = []
    for field in dataclasses.fields(kind):
        name = prefix + field.name
        part = _PARTS.get(name)
        found += [(name, part)] + ([] if part is None else _fields(part, name + "."))
    return found


def _built(kind: type, arrays: dict[str, jax.Array], prefix: str) -> Any:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        name = prefix + field.name
        part = _PARTS.get(name)
        if part is None:
            values[field.name] = arrays[name]
        else:
            there = any(other.startswith(name + ".") for other in arrays)
            values[field.name] = _built(part, arrays, name + ".") if there else None
    return kind(**values)


def _named(state: State) -> dict[str, jax.Array]:
    leaves: dict[str, jax.Array] = {}
    for name, kind in _fields(State):
        if kind is None:
            value: Any = state
            for part in name.split("."):
                value = None if value is None else getattr(value, part)
            if value is not None:
                leaves[name] = jax.random.key_data(value) if name == "key" else value
    return leaves

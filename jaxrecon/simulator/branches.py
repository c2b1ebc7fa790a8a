"""State as a value: copied into several futures, written to disk and read back."""

import dataclasses
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxrecon.dynamics import VehicleState
from jaxrecon.simulator.state import State
from jaxrecon.storage import StorageError, read_folder, write_folder

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
    vehicle_names = {f"vehicle.{field.name}" for field in dataclasses.fields(VehicleState)}
    names = {field.name for field in dataclasses.fields(State)} - {"vehicle"} | vehicle_names
    if set(arrays) != names:
        raise StorageError(
            pathlib.Path(path) / _ARRAYS,
            expected=f"fields {sorted(names)}",
            received=f"fields {sorted(arrays)}",
            remedy="load it with the version of jaxrecon that saved it",
        )
    vehicle = VehicleState(**{name.removeprefix("vehicle."): arrays.pop(name) for name in sorted(vehicle_names)})
    key = jax.random.wrap_key_data(arrays.pop("key"), impl=manifest.metadata["key"])
    return State(vehicle=vehicle, key=key, **arrays)


def _named(state: State) -> dict[str, jax.Array]:
    leaves = {field.name: getattr(state, field.name) for field in dataclasses.fields(State)}
    vehicle = leaves.pop("vehicle")
    leaves |= {f"vehicle.{field.name}": getattr(vehicle, field.name) for field in dataclasses.fields(VehicleState)}
    return leaves | {"key": jax.random.key_data(state.key)}

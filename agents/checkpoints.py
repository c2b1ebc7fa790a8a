"""Policies and training states on disk: arrays by orbax, inside folders with checksums that are whole or absent."""

import dataclasses
import pathlib
import shutil
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxrecon.agents.networks import Policy, policy_shape
from jaxrecon.agents.policy_config import PolicyConfig, read_config
from jaxrecon.storage import Manifest, StorageError, read_folder, write_folder

POLICY_KIND, POLICY_VERSION = "policy", 2
TRAINING_KIND, TRAINING_VERSION = "training", 1
_ARRAYS = "arrays"
_HISTORY = "history.npz"
_HALF, _ENCODER = jnp.bfloat16, "encoder."

Figures = dict[str, Any]  # NumPy scalars and small arrays, of one step


class CheckpointError(ValueError):
    """A checkpoint does not belong to what it was to be restored into, or none of a run's checkpoints is whole."""


class ArchitectureError(CheckpointError):
    """A checkpoint holds the parameters of another network."""


def describe(**parts: Any) -> dict[str, Any]:
    """What makes up a run, as plain JSON values: dataclasses by field, keys by their data, arrays as lists."""
    return {name: _plain(part) for name, part in parts.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int | float | None):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return np.asarray(_without_key(value)).tolist()


def _without_key(leaf: Any) -> Any:
    typed = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if typed else leaf


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _named(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _write_arrays(folder: pathlib.Path, tree: Any) -> None:
    """Store leaves by name. Empty ones have nothing to store (and orbax refuses them)."""
    arrays = {name: np.asarray(_without_key(leaf)) for name, leaf in _named(tree).items()}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / _ARRAYS).absolute(), {n: a for n, a in arrays.items() if a.size})


def _read_arrays(folder: pathlib.Path, template: Any) -> Any:
    """Arrays in the structure of a template, whose leaves are arrays or their shapes and types."""
    with ocp.StandardCheckpointer() as checkpointer:
        arrays = checkpointer.restore((folder / _ARRAYS).absolute())
    named = _named(template)
    wanted = {name for name, leaf in named.items() if leaf.size}
    if wanted != arrays.keys():
        missing, extra = sorted(wanted - arrays.keys()), sorted(arrays.keys() - wanted)
        raise ArchitectureError(
            f"{folder}: lacks arrays {missing[:5]} and has others {extra[:5]}: not the same structure"
        )
    leaves = [_restored(folder, name, leaf, arrays.get(name)) for name, leaf in named.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _restored(folder: pathlib.Path, name: str, leaf: Any, stored: np.ndarray | None) -> jax.Array:
    plain = _without_key(leaf)
    stored = np.zeros(plain.shape, plain.dtype) if stored is None else stored
    if stored.dtype == _HALF and plain.dtype == np.float32:
        stored = stored.astype(np.float32)
    if stored.shape != plain.shape or stored.dtype != plain.dtype:
        raise ArchitectureError(
            f"{folder}: array {name} is {stored.dtype}{list(stored.shape)}, expected {plain.dtype}{list(plain.shape)}"
        )
    # A copy: on a CPU the host's buffer may be shared, and whoever trains gives its buffers away.
    array = jnp.array(stored, copy=True)
    return array if plain is leaf else jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))


def _as_computed(policy: Policy) -> Any:
    """Parameters in the type in which the network takes them: nine tenths are the encoder's matrices.

    A policy that computes in bfloat16 rounds them at every use, so that what is stored so acts bit for bit the same.
    """
    if policy.config.compute != "bfloat16":
        return policy.parameters

    def halved(path: Any, leaf: jax.Array) -> jax.Array:
        return leaf.astype(_HALF) if _name(path).startswith(_ENCODER) and leaf.ndim >= 2 else leaf

    return jax.tree_util.tree_map_with_path(halved, policy.parameters)


def save_policy(
    path: str | pathlib.Path, policy: Policy, metadata: Mapping[str, Any] | None = None, overwrite: bool = False
) -> str:
    """Write a policy's parameters and configuration to a folder of their own.

    The encoder's matrices of a policy that computes in bfloat16 are stored so: it acts the same in half the space, and
    whoever trains it further begins with them rounded.

    Args:
        path: where the folder will be.
        policy: what to write.
        metadata: JSON values to keep beside it, say how it was trained.
        overwrite: whether to replace what is there.

    Returns:
        The folder's content hash.

    Raises:
        StorageError: when ``path`` exists and is not to be replaced.
    """
    return write_folder(
        path,
        lambda folder: _write_arrays(folder, _as_computed(policy)),
        kind=POLICY_KIND,
        version=POLICY_VERSION,
        metadata={"config": _plain(policy.config), "metadata": dict(metadata or {})},
        overwrite=overwrite,
    )


def load_policy(path: str | pathlib.Path, expected: PolicyConfig | None = None) -> tuple[Policy, dict[str, Any]]:
    """Read a policy that ``save_policy`` wrote.

    Args:
        path: the folder.
        expected: the architecture that it must have, and the type to compute in; None takes the stored ones.

    Returns:
        The policy and the metadata that it was saved with.

    Raises:
        StorageError: when a file is missing or damaged.
        ArchitectureError: when the stored architecture is not the expected one.
    """
    manifest = read_folder(path, kind=POLICY_KIND, version=POLICY_VERSION)
    try:
        config = read_config(manifest.metadata["config"])
    except ValueError as error:
        raise ArchitectureError(f"{path}: {error}: train a new policy") from error
    if expected is not None:
        # How it computes changes no parameter: a policy trained in bfloat16 may drive in float32.
        alike = dataclasses.replace(config, compute=expected.compute, convolution=expected.convolution)
        _raise_if_different(path, _plain(alike), _plain(expected))
        config = expected
    policy = policy_shape(config)
    parameters = _read_arrays(pathlib.Path(path), policy.parameters)
    return dataclasses.replace(policy, parameters=parameters), manifest.metadata["metadata"]


def _raise_if_different(path: str | pathlib.Path, stored: dict[str, Any], expected: dict[str, Any]) -> None:
    fields = [
        f"{k}: {stored.get(k)} stored, {expected.get(k)} expected" for k in expected if stored.get(k) != expected[k]
    ]
    if fields:
        raise ArchitectureError(
            f"{path} holds a policy of another architecture ({'; '.join(fields)}): build the policy with the stored "
            "configuration, or train a new one"
        )


class TrainingCheckpoints:
    """The newest whole training states of one run, one folder each, and the history up to each of them."""

    def __init__(self, folder: str | pathlib.Path, run: Mapping[str, Any], keep: int = 2):
        """Look after a folder.

        Args:
            folder: holds a folder for each saved step, and nothing else.
            run: JSON values that a checkpoint must agree in to be gone on from.
            keep: how many to keep: one to fall back to when the newest is damaged, at least.
        """
        if keep < 1:
            raise ValueError(f"keep is {keep}, expected at least 1")
        self.folder = pathlib.Path(folder).absolute()
        self.run = _plain(dict(run))
        self.keep = keep

    def steps(self) -> list[int]:
        """Numbers of the saved steps, newest first, damaged ones included."""
        found = self.folder.glob("step_*") if self.folder.is_dir() else ()
        return sorted((int(p.name.removeprefix("step_")) for p in found if p.name[5:].isdigit()), reverse=True)

    def save(self, step: int, state: Any, history: list[Figures]) -> None:
        """Write a state, then remove those that are too old to keep."""

        def write(folder: pathlib.Path) -> None:
            _write_arrays(folder, state)
            columns: dict[str, Any] = {name: np.stack([row[name] for row in history]) for name in history[0]}
            np.savez(folder / _HISTORY, **columns)

        # A folder of the same step can only be a damaged one that training fell back behind.
        write_folder(
            self._path(step),
            write,
            kind=TRAINING_KIND,
            version=TRAINING_VERSION,
            metadata={"run": self.run, "step": step},
            overwrite=True,
        )
        for old in self.steps()[self.keep :]:
            shutil.rmtree(self._path(old))

    def restore_latest(self, template: Any) -> tuple[Any, list[Figures]]:
        """The newest whole state and its history, or the template and none where nothing was ever saved.

        A damaged step is passed over with a warning.

        Raises:
            CheckpointError: when all steps are damaged, or the newest whole one is another run's.
        """
        damage = []
        for step in self.steps():
            path = self._path(step)
            try:
                manifest = read_folder(path, kind=TRAINING_KIND, version=TRAINING_VERSION)
            except StorageError as error:
                damage.append(str(error))
                warnings.warn(f"training goes on from an older step, this one is damaged: {error}", stacklevel=2)
                continue
            self._raise_if_another_run(manifest)
            with np.load(path / _HISTORY) as stored:
                columns = {name: stored[name] for name in stored.files}
            history = [{name: column[i] for name, column in columns.items()} for i in range(step)]
            return _read_arrays(path, template), history
        if damage:
            raise CheckpointError(
                f"{self.folder}: none of its {len(damage)} checkpoints is whole. Remove the folder to start again. "
                + " ".join(damage)
            )
        return template, []

    def _raise_if_another_run(self, manifest: Manifest) -> None:
        stored, expected = manifest.metadata["run"], self.run
        different = _differences(stored, expected, "")
        if different:
            raise CheckpointError(
                f"{manifest.path} was saved by another run ({'; '.join(different[:5])}): choose another folder, or "
                "call with the same arguments to go on"
            )

    def _path(self, step: int) -> pathlib.Path:
        return self.folder / f"step_{step:08d}"


def _differences(stored: Any, expected: Any, name: str) -> list[str]:
    if isinstance(stored, dict) and isinstance(expected, dict):
        names = sorted(stored.keys() | expected.keys())
        return [d for k in names for d in _differences(stored.get(k), expected.get(k), f"{name}.{k}".lstrip("."))]
    return [] if stored == expected else [f"{name}: {stored} stored, {expected} expected"]

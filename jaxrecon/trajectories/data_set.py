"""Cousins on disk: shards that appear whole, are verified when read, and know the scene that they were drawn from.

A folder holds ``plan`` (the cousins), ``shard-00000`` and on (a few cousins' rows each), and ``index``, written last.
What is there is kept: a stopped writer goes on with the first missing shard, and leaves the same to the byte.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Bool, Int
from tqdm import tqdm

from jaxrecon.dynamics import VehicleState
from jaxrecon.scene import Scene
from jaxrecon.simulator import Demonstrations, Observation
from jaxrecon.storage import Manifest, StorageError, read_folder, write_folder
from jaxrecon.trajectories.adapted import Adapted
from jaxrecon.trajectories.cousins import NAMES, Cousins

KIND, VERSION = "cousin data set", 1
PLAN, INDEX = "plan", "index"
Labels = Literal["cousin", "recovery"]
Rows = Mapping[str, np.ndarray]


class CousinDataError(StorageError):
    """A data set that is not what it should be: unfinished, damaged, or of another run."""


class StaleCousinsError(CousinDataError):
    """A data set that was drawn from another scene than the one at hand, say from one before it was improved."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What a data set was made of.

    Attributes:
        log: name of the recording.
        scene: content hash of the scene that its frames show, see ``scene_content``.
        configuration: whatever else decided its content, JSON values.
    """

    log: str
    scene: str
    configuration: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the data set."""
        return f"cousin-{self.log}"

    def as_json(self) -> dict[str, Any]:
        """The same as manifests hold it."""
        return {"log": self.log, "scene": self.scene, "configuration": json.loads(json.dumps(self.configuration))}


@dataclasses.dataclass(frozen=True)
class CousinData:
    """A data set in memory.

    Attributes:
        demonstrations: for ``agents.imitate.fit``; cousin after cousin, steps in order.
        started: (row,) where another cousin begins, for ``agents.shown.prepare``.
        rows: everything that was stored, see ``showing.show``.
        source: what it was made of.
        content: hash of the whole, as ``write_cousins`` returned it.
    """

    demonstrations: Demonstrations
    started: Bool[np.ndarray, " row"]
    rows: dict[str, np.ndarray]
    source: Source
    content: str

    def labelled(self, labels: Labels) -> "CousinData":
        """The same rows with labels of a kind, see ``read_cousins``."""
        return dataclasses.replace(self, demonstrations=_demonstrations(self.rows, labels))


def scene_content(scene: Scene) -> str:
    """SHA-256 of a scene's arrays: any improvement of it changes this."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(scene):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_cousins(
    folder: str | os.PathLike[str],
    source: Source,
    cousins: Cousins,
    show: Callable[[int], Rows],
    per_shard: int = 8,
    progress: bool = True,
) -> str:
    """Write a data set, or what is missing of it.

    Args:
        folder: of the data set.
        source: what it is made of.
        cousins: all of them.
        show: rows of one, by its index.
        per_shard: cousins of a shard.
        progress: show a bar that counts cousins.

    Returns:
        Content hash of the whole.

    Raises:
        StaleCousinsError: if the folder was begun with another scene.
        CousinDataError: if it was begun with another log, configuration or count of a shard's cousins, or a shard is
            damaged.
    """
    folder, host = pathlib.Path(folder), jax.device_get(cousins)
    if (folder / PLAN).exists():
        _require_same(_read(folder / PLAN), source, per_shard)
        if _digest_of(_cousins_in(folder / PLAN)) != _digest_of(host):
            raise CousinDataError(
                folder / PLAN,
                expected="the same cousins as now",
                received="others, by the same configuration",
                remedy="Another release or machine planned them: choose another folder, or delete this one",
            )
    else:
        metadata = {**source.as_json(), "per_shard": per_shard}
        write_folder(folder / PLAN, _writer(cousin_arrays(host)), kind=KIND, version=VERSION, metadata=metadata)
    hashes = {}
    with tqdm(total=host.count, desc=source.name, unit="cousin", disable=not progress) as bar:
        for number, first in enumerate(range(0, host.count, per_shard)):
            some = range(first, min(first + per_shard, host.count))
            name = f"shard-{number:05d}"
            if (folder / name).exists():
                hashes[name] = _read(folder / name).content_hash
            else:
                rows = [{**show(index), "cousin": index} for index in some]
                hashes[name] = write_folder(
                    folder / name, _writer(_stacked(rows)), kind=KIND, version=VERSION, metadata=source.as_json()
                )
            bar.update(len(some))
    metadata = {**source.as_json(), "shards": hashes}
    summary = {"cousins": host.count, "families": _counted(host)}
    # A shard that was removed and drawn again may differ from the one that the index knew.
    if not (folder / INDEX).exists() or _read(folder / INDEX).metadata != metadata:
        write_folder(
            folder / INDEX, _text_writer(summary), kind=KIND, version=VERSION, metadata=metadata, overwrite=True
        )
    return _digest(hashes)


def read_cousins(
    folder: str | os.PathLike[str],
    scene: str | None = None,
    labels: Labels = "cousin",
    families: tuple[str, ...] | None = None,
) -> CousinData:
    """Read and verify a data set.

    Args:
        folder: that ``write_cousins`` wrote.
        scene: content hash of the scene that it shall show; None: whichever.
        labels: "cousin": what the cousin does next on its own route; "recovery": what leads back to the recorded path,
            with the recorded route's navigation, valid near that path.
        families: take only these.

    Raises:
        StaleCousinsError: if it was drawn from another scene.
        CousinDataError: if it is unfinished or damaged, or holds none of these families.
    """
    folder = pathlib.Path(folder)
    manifest = _read(folder / INDEX)
    source = _source_of(manifest)
    if scene is not None:
        _require_fresh(folder, source, scene)
    shards = manifest.metadata["shards"]
    parts = []
    for name, expected in shards.items():
        there = _read(folder / name)
        if there.content_hash != expected:
            raise CousinDataError(
                folder / name,
                expected=f"content {expected[:12]}",
                received=f"content {there.content_hash[:12]}: another shard",
                remedy="Write the data set again",
            )
        parts.append({file.stem: np.load(file, allow_pickle=False) for file in sorted((folder / name).glob("*.npy"))})
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if families is not None:
        wanted = np.isin(rows["family"], [NAMES.index(name) for name in families])
        if not wanted.any():
            held = sorted({NAMES[number] for number in rows["family"]})
            raise CousinDataError(
                folder, expected=f"cousins of {families}", received=f"those of {held}", remedy="Name some of these"
            )
        rows = {name: values[wanted] for name, values in rows.items()}
    return CousinData(_demonstrations(rows, labels), _started(rows["cousin"]), rows, source, _digest(shards))


def read_source(folder: str | os.PathLike[str]) -> Source:
    """What a finished data set was made of, without reading its rows.

    Raises:
        CousinDataError: if it is unfinished or damaged.
    """
    return _source_of(_read(pathlib.Path(folder) / INDEX))


def read_plan(folder: str | os.PathLike[str]) -> Cousins:
    """The cousins of a data set, finished or not, as arrays of NumPy."""
    place = pathlib.Path(folder) / PLAN
    _read(place)
    return _cousins_in(place)


def cousin_arrays(cousins: Cousins) -> dict[str, np.ndarray]:
    """All arrays of cousins by name; ``cousins_from`` puts them together again."""
    leaves = jax.tree_util.tree_leaves_with_path(cousins)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def cousins_from(arrays: Rows) -> Cousins:
    """The cousins of ``cousin_arrays``."""

    def part(prefix: str) -> dict[str, Any]:
        return {name.split(".", 1)[1]: leaf for name, leaf in arrays.items() if name.startswith(f"{prefix}.")}

    whole: dict[str, Any] = {name: leaf for name, leaf in arrays.items() if "." not in name}
    vehicle, others = VehicleState(**part("vehicle")), Adapted(**part("others"))
    return Cousins(**whole, vehicle=vehicle, others=others, parameters=part("parameters"))


def _demonstrations(rows: Mapping[str, Any], labels: Labels) -> Demonstrations:
    own = labels == "cousin"
    prefix = "" if own else "recovery_"
    return Demonstrations(
        observation=Observation(frames=rows["frames"], ego=rows["ego"], navigation=rows[f"{prefix}navigation"]),
        lateral=rows[f"{prefix}lateral"],
        longitudinal=rows[f"{prefix}longitudinal"],
        valid=rows["lateral"] >= 0 if own else rows["recovery_valid"],
    )


def _started(cousin: Int[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
    return np.append(True, np.diff(cousin) != 0)


def _stacked(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    counts = [len(one["step"]) for one in rows]
    cousin = np.repeat([one["cousin"] for one in rows], counts).astype(np.int32)
    names = [name for name in rows[0] if name != "cousin"]
    return {name: np.concatenate([one[name] for one in rows]) for name in names} | {"cousin": cousin}


def _writer(arrays: Rows) -> Callable[[pathlib.Path], None]:
    def write(folder: pathlib.Path) -> None:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)

    return write


def _text_writer(content: Mapping[str, Any]) -> Callable[[pathlib.Path], None]:
    def write(folder: pathlib.Path) -> None:
        (folder / "summary.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    return write


def _counted(cousins: Cousins) -> dict[str, int]:
    return {name: int((np.asarray(cousins.family) == number).sum()) for number, name in enumerate(NAMES)}


def _read(folder: pathlib.Path) -> Manifest:
    if not folder.exists():
        raise CousinDataError(
            folder,
            expected="a folder of a finished data set",
            received="nothing",
            remedy="Run the command that writes it again: it goes on where it was stopped",
        )
    try:
        return read_folder(folder, kind=KIND, version=VERSION)
    except StorageError as error:
        raise CousinDataError(
            error.file, expected=error.expected, received=error.received, remedy=error.remedy
        ) from error


def _cousins_in(plan: pathlib.Path) -> Cousins:
    """Of a plan that has been verified."""
    return cousins_from({file.stem: np.load(file, allow_pickle=False) for file in sorted(plan.glob("*.npy"))})


def _source_of(manifest: Manifest) -> Source:
    return Source(*(manifest.metadata[name] for name in ("log", "scene", "configuration")))


def _require_fresh(folder: pathlib.Path, source: Source, scene: str) -> None:
    if source.scene != scene:
        raise StaleCousinsError(
            folder,
            expected=f"frames of the scene with content {scene[:12]}",
            received=f"frames of one with content {source.scene[:12]}: the data set is stale",
            remedy="Draw the cousins again from the scene as it is now, into another folder",
        )


def _require_same(manifest: Manifest, source: Source, per_shard: int) -> None:
    there, now = _source_of(manifest), {**source.as_json(), "per_shard": per_shard}
    _require_fresh(manifest.path.parent, there, source.scene)
    for name in ("log", "configuration", "per_shard"):
        held = manifest.metadata.get(name)
        if held != now[name]:
            raise CousinDataError(
                manifest.path,
                expected=f"{name} {now[name]}",
                received=f"{name} {held}",
                remedy="Choose another folder, or delete this one",
            )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest_of(cousins: Cousins) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(cousin_arrays(cousins).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

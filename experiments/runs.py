"""The folder of one run: its configuration, and stages that are computed once, each whole or absent."""

import dataclasses
import datetime
import hashlib
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

from jaxrecon.storage import MANIFEST, read_folder, write_folder

VERSION = 1
_CONFIGURATION = "run.json"
_FIGURES = "figures.json"


class RunError(ValueError):
    """A folder that cannot take this run; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A finished stage.

    Attributes:
        folder: what it wrote.
        figures: what it measured.
        seconds: how long it took when it was computed.
        resumed: whether it was found finished.
    """

    folder: pathlib.Path
    figures: dict[str, Any]
    seconds: float
    resumed: bool


class Run:
    """Stages in a folder that belongs to one configuration.

    Args:
        folder: made where it does not exist.
        configuration: everything that decides the results, as JSON can hold it.

    Raises:
        RunError: the folder holds something else, or a run with another configuration.
    """

    def __init__(self, folder: pathlib.Path, configuration: dict[str, Any]):
        self.folder = folder
        self.configuration = json.loads(json.dumps(configuration, default=str))
        path = folder / _CONFIGURATION
        self._made = not path.exists()
        if not self._made:
            self._require_same(path)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{folder}: holds other files and no {_CONFIGURATION}; choose another folder with --out")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(self.configuration, indent=2) + "\n")

    def stage(self, name: str, compute: Callable[[pathlib.Path], dict[str, Any]]) -> Stage:
        """The stage of that name, computed unless it is there.

        Args:
            name: of the stage and of its folder.
            compute: writes its results into the folder it is given and returns its figures, as JSON can hold them.

        Raises:
            StorageError: the stage is there but was altered since.
        """
        path = self.folder / name
        resumed = path.exists()
        if not resumed:
            print(f"[{name}]", flush=True)

            def write(folder: pathlib.Path) -> None:
                start = time.perf_counter()
                figures = compute(folder)
                record = {"figures": figures, "seconds": time.perf_counter() - start}
                (folder / _FIGURES).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

            made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            try:
                write_folder(path, write, kind=f"stage {name}", version=VERSION, metadata={"made": made})
            except BaseException:
                self._forget_if_nothing_is_done()
                raise
        read_folder(path, kind=f"stage {name}", version=VERSION)
        record = json.loads((path / _FIGURES).read_text(encoding="utf-8"))
        stage = Stage(path, record["figures"], record["seconds"], resumed)
        brief = "  ".join(f"{key} {_brief(value)}" for key, value in stage.figures.items() if _is_brief(value))
        print(f"[{name}] {'found done, took' if resumed else 'done in'} {stage.seconds:.1f} s  {brief}", flush=True)
        return stage

    def _forget_if_nothing_is_done(self) -> None:
        """Leave no trace of a run whose first stage failed, so that the folder is free for another configuration.

        Who found the folder leaves it: other processes may be about to put stages there.
        """
        if self._made and [path.name for path in self.folder.iterdir()] == [_CONFIGURATION]:
            (self.folder / _CONFIGURATION).unlink()
            self.folder.rmdir()

    def _require_same(self, path: pathlib.Path) -> None:
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(
                f"{path}: is not JSON ({error}); choose another folder with --out or delete this one"
            ) from error
        old, new = _flatten(there), _flatten(self.configuration)
        differing = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
        if differing:
            listed = "; ".join(f"{key} is {old.get(key)!r} there, {new.get(key)!r} now" for key in differing[:4])
            more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
            raise RunError(
                f"{self.folder}: holds a run with another configuration ({listed}{more}); nothing was changed. "
                "Choose another folder with --out, or delete this one"
            )


def fingerprint_of(folder: pathlib.Path) -> str:
    """SHA-256 of what a stored folder holds, a policy's say: of its manifest, which has the digests of its files.

    Raises:
        RunError: it has none.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise RunError(f"{folder}: has no {MANIFEST}; pass a folder that was stored whole")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= _flatten(entry, f"{prefix}.{key}" if prefix else key)
    return flat


def _is_brief(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and len(str(value)) < 40


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

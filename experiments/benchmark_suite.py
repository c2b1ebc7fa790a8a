"""What the suites of the benchmark share: rows by device and scale, and things that several rows need made once."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax
from benchmark_rows import BenchmarkError

Made = TypeVar("Made")
Row = dict[str, Any] | None


class Skipped(Exception):
    """A row that cannot be measured here; the message says why."""


def fresh_process(child: pathlib.Path, folder: pathlib.Path, *arguments: str, seconds: float) -> dict[str, Any]:
    """What a fresh process prints in JSON on its last line; its compilation cache is kept in the folder.

    Args:
        child: the script that it runs, on the folder and the arguments.
        folder: of what it reads.
        arguments: further ones.
        seconds: after which it is given up.

    Raises:
        BenchmarkError: it failed.
    """
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, str(child), str(folder), *arguments]
    ended = subprocess.run(
        command, env=os.environ | cache, capture_output=True, text=True, check=False, timeout=seconds
    )
    if ended.returncode:
        raise BenchmarkError(f"the fresh process of {child.name} failed:\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


class Suite:
    """Measures rows; what several rows need is made once.

    Args:
        scale: how much of everything: a ``name``, and whether rows are measured ``anywhere``.
    """

    #: Errors of what is made once that every row which needs it meets again, without another try.
    lasting: ClassVar[tuple[type[Exception], ...]] = (Skipped, BenchmarkError)

    def __init__(self, scale: Any):
        self.scale = scale
        self.here = "cpu" if jax.default_backend() == "cpu" else "gpu"
        self._made: dict[str, Any] = {}

    def _row(self, name: str, device: str, make: Callable[[str], Row]) -> Row:
        """Measure one row; None, with a printed line, where that cannot be done here."""
        try:
            if device not in (self.here, "any") and not self.scale.anywhere:
                raise Skipped(f"it is measured on a {device.upper()}, and JAX runs on {jax.default_backend()} here")
            row = make(name)
        except Skipped as reason:
            print(f"[{name}] skipped: {reason}", flush=True)
            return None
        if row is not None and self.scale.name != "full":
            row["quality"]["scale"] = self.scale.name
        return row

    def _once(self, name: str, make: Callable[[], Made]) -> Made:
        """What was made under that name, or the same error again."""
        if name not in self._made:
            try:
                self._made[name] = make()
            except self.lasting as error:
                self._made[name] = error
        if isinstance(self._made[name], Exception):
            raise self._made[name]
        return self._made[name]

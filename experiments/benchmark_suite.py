"""What the suites of the benchmark share: rows by device and scale, and things that several rows need made once."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax
from benchmark_rows import BenchmarkError

Made = TypeVar("Made")
Row = dict[str, Any] | None


class Skipped(Exception):
    """A row that cannot be measured here; the message says why."""


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

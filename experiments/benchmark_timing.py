"""How long a call takes, measured in the same way for everyone who is compared."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

LONG = 100.0  # milliseconds; longer calls are timed less often
FEWER = 4  # times
FEWEST = 3  # samples
SHORT = 10.0  # milliseconds; of shorter calls it is also told what they take back to back
TOGETHER = 10
ROUNDS = 2  # of all inputs before the timing


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of one call, each waited for before the next begins.

    Attributes:
        median: of the samples.
        low: the fastest sample.
        high: the slowest sample.
        samples: timed calls.
        by_input: median for each of the inputs among which the calls alternate.
        back_to_back: of a call among several that are waited for together; None for a long one.
    """

    median: float
    low: float
    high: float
    samples: int
    by_input: tuple[float, ...]
    back_to_back: float | None

    @property
    def notes(self) -> dict[str, Any]:
        """What stands beside the median, without what says nothing new."""
        notes: dict[str, Any] = {"samples": self.samples}
        if len(self.by_input) > 1:
            notes["ms_by_set"] = list(self.by_input)
        if self.back_to_back is not None:
            notes["ms_back_to_back"] = self.back_to_back
        return notes


def measure(call: Callable[[int], Any], wait: Callable[[Any], Any], repeats: int, inputs: int = 1) -> Timing:
    """Time a call after warming it up.

    Args:
        call: starts the work; takes a running number, by whose remainder it chooses among the inputs.
        wait: returns when the work whose result it is given, and all that was started before, is done.
        repeats: samples; fewer of a long call, and each input as often as the others.
        inputs: among which the calls alternate.
    """
    _spent(call, wait, 0, max(FEWEST, ROUNDS * inputs))
    single = _spent(call, wait, 0, 1)
    count = min(repeats, max(FEWEST, repeats // FEWER)) if single > LONG else repeats
    count = -(-count // inputs) * inputs
    samples = [_spent(call, wait, number, 1) for number in range(count)]
    median = statistics.median(samples)
    by_input = tuple(statistics.median(samples[first::inputs]) for first in range(inputs))
    back_to_back = None
    if median < SHORT:
        # As many of each input, so that the mean of a run means the same as the others.
        together = -(-TOGETHER // inputs) * inputs
        back_to_back = statistics.median(_spent(call, wait, 0, together) / together for _ in range(FEWEST))
    return Timing(median, min(samples), max(samples), count, by_input, back_to_back)


def _spent(call: Callable[[int], Any], wait: Callable[[Any], Any], first: int, calls: int) -> float:
    begin = time.perf_counter()
    result = None
    for number in range(first, first + calls):
        result = call(number)
    wait(result)
    return 1e3 * (time.perf_counter() - begin)

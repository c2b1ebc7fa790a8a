"""How long a call takes, measured in the same way for everyone who is compared."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

SHORT = 10.0  # milliseconds; shorter calls are timed several at a time
TOGETHER = 10


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of one call.

    Attributes:
        median: of the samples.
        low: the fastest sample.
        high: the slowest sample.
        calls: made back to back, with one wait at their end, for each sample.
    """

    median: float
    low: float
    high: float
    calls: int


def measure(
    call: Callable[[int], Any], wait: Callable[[Any], Any], repeats: int, warmups: int = 3, together: int = TOGETHER
) -> Timing:
    """Time a call after warming it up.

    Args:
        call: starts the work; takes a running number by which it may choose among inputs.
        wait: returns when the work whose result it is given, and all that was started before, is done.
        repeats: samples.
        warmups: calls before; all inputs should have been used.
        together: calls of a sample, if one is short.
    """
    result = None
    for number in range(warmups):
        result = call(number)
    wait(result)
    del result
    single = _sample(call, wait, 0, 1)
    calls = together if single < SHORT else 1
    samples = [_sample(call, wait, calls * index, calls) for index in range(repeats)]
    return Timing(statistics.median(samples), min(samples), max(samples), calls)


def _sample(call: Callable[[int], Any], wait: Callable[[Any], Any], first: int, calls: int) -> float:
    begin = time.perf_counter()
    result = None
    for number in range(first, first + calls):
        result = call(number)
    wait(result)
    return 1e3 * (time.perf_counter() - begin) / calls

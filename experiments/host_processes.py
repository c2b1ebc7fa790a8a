"""Many pieces of work on the host's cores: side by side, for an accelerator, or one after the other for a long time."""

import gc
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax

PROCESSES_FROM = 4  # pieces for which starting processes is worth while
MOST_PROCESSES = 16  # each imports JAX, in seconds and half a gigabyte
MOST_MAPS = 36_000  # memory maps of a process, of the 65,530 that Linux allows; a large program may add thousands


def side_by_side(make: Callable[..., Any], *pieces: Sequence[Any]) -> list[Any]:
    """As ``map``, for work that is NumPy's and Python's and holds one core each: by processes if there are several.

    They compute on CPUs and leave an accelerator to the process that starts them.

    Args:
        make: of a module's top level, and whatever it returns, can be pickled.
        pieces: its arguments, one sequence each.
    """
    if len(pieces[0]) < PROCESSES_FROM:
        return list(map(make, *pieces))
    workers = min(len(pieces[0]), os.cpu_count() or 1, MOST_PROCESSES)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), on_cpu) as pool:
        return list(pool.map(make, *pieces))


def on_cpu() -> None:
    """Leave an accelerator to the process that started this one, and the other cores to its siblings.

    Else each of them starts several threads for every core, which slow each other down, and of which a machine with
    many cores may not have enough.
    """
    os.environ["PJRT_NPROC"] = "1"
    jax.config.update("jax_platforms", "cpu")


def make_room_for_programs() -> None:
    """Forget compiled programs before they use up the process's memory maps, without which XLA compiles no more."""
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


def made_on_host(make: Callable[[], Any]) -> Any:
    """What is made of pieces that differ in shape, computed on a CPU and then put on JAX's default device.

    An accelerator would compile hundreds of small programs for so many shapes.

    Args:
        make: returns a pytree.
    """
    with jax.default_device(jax.devices("cpu")[0]):
        made = make()
    return jax.device_put(jax.device_get(made))

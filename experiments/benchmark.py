"""Measure a suite of speeds, each with its quality beside it, and write them as rows.

    python experiments/benchmark.py rasterizer --peer gsplat --json benchmarks/rasterizer-h100.json
    python experiments/benchmark.py rasterizer --rows fwd_1024x96x64_30k_exact --repeats 5
    python experiments/benchmark.py reconstruction --peer gsplat --json benchmarks/reconstruction-h100.json
    python experiments/benchmark.py simulator --peer waymax --json benchmarks/simulator-h100.json
    python experiments/benchmark.py training --json benchmarks/training-h100.json
    python experiments/benchmark.py traffic --json benchmarks/traffic-h100.json

Peers run in the same invocation, on the same inputs. Rows that need another device than there is are skipped, with a
printed line.
"""

import dataclasses
import os
import pathlib
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, Literal

# A peer in another process needs most of the device's memory. Set before JAX starts.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import cousins_suite
import rasterizer_suite
import reconstruction_specs
import reconstruction_suite
import simulator_specs
import simulator_suite
import traffic_specs
import traffic_suite
import training_specs
import training_suite
import tyro
from benchmark_rows import BenchmarkError, format_row, read_rows, table, write_rows
from gsplat_peer import GsplatPeer
from rasterizer_drawing import Look
from reconstruction_peer import GsplatTrainer
from runs import RunError
from waymax_peer import find_waymax


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What to measure.

    Attributes:
        suite: which rows: `rasterizer`, `reconstruction`, `simulator`, `training` or `traffic`.
        json: file to write the rows to; with --rows, rows of that file that are not measured now stay.
        rows: names of the rows to measure; all of the suite by default.
        peer: what to compare with: gsplat, or waymax, which the simulator's rows without cameras can be compared with.
        repeats: timed calls, of which the median counts; fewer of calls that take long.
        backend: as `kernels.rasterize` takes it.
        detail: pixels that a merged cell may cover, in the rasterizer's rows of the policy-resolution form.
        scale: of all suites but the rasterizer's; `tiny` shows in minutes on a CPU that they run, and its figures say
            no more.
    """

    suite: Annotated[str, tyro.conf.Positional]
    json: pathlib.Path | None = None
    rows: tuple[str, ...] = ()
    peer: Literal["none", "gsplat", "waymax"] = "none"
    repeats: int = 20
    backend: str = "auto"
    detail: float = rasterizer_suite.POLICY_DETAIL
    scale: Literal["full", "tiny"] = "full"


def _rasterizer(config: Benchmark, peer: GsplatPeer | None) -> dict[str, Callable[[], dict[str, Any] | None]]:
    look = Look(config.detail, rasterizer_suite.POLICY_ANTIALIASED)
    return rasterizer_suite.RasterizerBench(config.backend, config.repeats, peer, look).measurements


def _reconstruction(config: Benchmark, peer: GsplatPeer | None) -> dict[str, Callable[[], dict[str, Any] | None]]:
    scale = reconstruction_specs.SCALES[config.scale]
    # gsplat's trainer is a program of its own, which takes the whole device for as long as it runs.
    trainer = GsplatTrainer(probe_steps=scale.probe_steps) if peer is not None else None
    return reconstruction_suite.ReconstructionBench(scale, trainer).measurements


def _simulator(config: Benchmark, peer: GsplatPeer | None) -> dict[str, Callable[[], dict[str, Any] | None]]:
    other = find_waymax() if config.peer == "waymax" else None
    return simulator_suite.SimulatorBench(simulator_specs.SCALES[config.scale], other).measurements


def _training(config: Benchmark, peer: GsplatPeer | None) -> dict[str, Callable[[], dict[str, Any] | None]]:
    return training_suite.TrainingBench(training_specs.SCALES[config.scale]).measurements


def _traffic(config: Benchmark, peer: GsplatPeer | None) -> dict[str, Callable[[], dict[str, Any] | None]]:
    adversaries = traffic_suite.TrafficBench(traffic_specs.SCALES[config.scale]).measurements
    return adversaries | cousins_suite.measurements(cousins_suite.SCALES[config.scale])


SUITES = {
    "rasterizer": _rasterizer,
    "reconstruction": _reconstruction,
    "simulator": _simulator,
    "training": _training,
    "traffic": _traffic,
}


def main(config: Benchmark) -> list[dict[str, Any]]:
    """Measure the rows that were asked for, write them as they come, and return them.

    Raises:
        BenchmarkError: for an unknown suite or row, or after the last row if some could not be measured.
    """
    if config.suite not in SUITES:
        raise BenchmarkError(f"suite {config.suite!r} is unknown; expected one of {sorted(SUITES)}")
    if config.repeats < 1:
        raise BenchmarkError(f"--repeats is {config.repeats}; expected at least 1")
    peer = GsplatPeer() if config.peer == "gsplat" else None
    try:
        measurements = SUITES[config.suite](config, peer)
        unknown = sorted(set(config.rows) - set(measurements))
        if unknown:
            raise BenchmarkError(f"rows {unknown} are unknown; suite {config.suite!r} has {list(measurements)}")
        wanted = [name for name in measurements if not config.rows or name in config.rows]
        kept = read_rows(config.json) if config.rows and config.json and config.json.exists() else []
        rows, failed = _measure(config, {name: measurements[name] for name in wanted}, kept)
    finally:
        if peer is not None:
            peer.close()
    print(table(rows))
    if failed:
        raise BenchmarkError(f"{len(failed)} rows or their peers could not be measured: {', '.join(failed)}")
    return rows


def _measure(
    config: Benchmark, measurements: dict[str, Callable[[], dict[str, Any] | None]], kept: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """One row after the other; what fails costs only its own row."""
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    for name, measure in measurements.items():
        print(f"[{name}]", flush=True)
        try:
            row = measure()
        except Exception as error:
            failed.append(name)
            if not isinstance(error, BenchmarkError | RunError):
                traceback.print_exc()
            print(f"[{name}] failed: {error}", flush=True)
            continue
        if row is None:
            continue
        print(format_row(row), flush=True)
        rows.append(row)
        if "gsplat_error" in row.get("quality", {}):
            failed.append(name)
        if config.json is not None:
            measured = {one["name"] for one in rows}
            write_rows(config.json, [one for one in kept if one["name"] not in measured] + rows)
    return rows, failed


if __name__ == "__main__":
    try:
        main(tyro.cli(Benchmark, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the rows that were finished are written", file=sys.stderr)
        sys.exit(130)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

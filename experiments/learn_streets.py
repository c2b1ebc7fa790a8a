"""From nothing to the scoreboard: fit streets, imitate in them, improve by PPO and score, on all devices at once.

    python experiments/learn_streets.py --out outputs/learned
    python experiments/learn_streets.py --out outputs/learned --devices 2
    python experiments/learn_streets.py --out outputs/learned --devices 0

Runs `fit_streets.py`, `imitate.py`, `train_ppo.py` and `evaluate.py` as tasks that need each other, in one process a
device and some more while streets are fitted. Writes into the folder: `streets`, `runs` with a folder for every policy,
`scoreboard` with a page for every kind of clips, `rows.json`, and `logs`, what each process says. The same command goes
on where it was stopped, and a task that failed is tried again.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

import jax
import tyro
from benchmark_rows import write_rows
from learning_plan import FIT, LEARN, SCORE, Plan, Scale
from runs import Run, RunError
from scoreboard_rows import rows_of
from side_tasks import Claims, Task, work
from tqdm import tqdm

CLAIMS, LOGS, ROWS = "claims", "logs", "rows.json"
LOOK = 1.0  # seconds between two looks at what the processes do
TOLD = 20  # last lines of a log that are shown when its process dies
ENDING = 60.0  # seconds that processes get to end when they are told to


@dataclasses.dataclass(frozen=True)
class LearnStreets:
    """Make the scoreboard of the streets.

    Attributes:
        out: folder of everything.
        devices: accelerators to use side by side; 0 for the CPU.
        scale: how much of everything; by default `full` on accelerators, else `cpu`.
        fitters: processes a device while streets are fitted, for one fit does not keep an accelerator busy.
        only: kinds of tasks to do now: `fit`, `learn`, `score`.
        scenarios: folder of Waymo motion scenarios to score in too.
        drive: recorded drives to score in too, each `RECORDING:REBUILT`.
        worker: take part in the tasks as that worker, without starting others; for a further machine that shares the
            folder.
    """

    out: pathlib.Path = pathlib.Path("outputs/learned")
    devices: int = 1
    scale: Scale | None = None
    fitters: int = 4
    only: tuple[str, ...] = (FIT, LEARN, SCORE)
    scenarios: pathlib.Path | None = None
    drive: tuple[str, ...] = ()
    worker: int | None = None

    @property
    def plan(self) -> Plan:
        """The tasks.

        Raises:
            RunError: a flag makes no sense.
        """
        unknown = sorted(set(self.only) - {FIT, LEARN, SCORE})
        if unknown or not self.only:
            raise RunError(f"--only {' '.join(self.only)}: expected some of {FIT}, {LEARN}, {SCORE}")
        if self.devices < 0 or self.fitters < 1:
            raise RunError(f"--devices {self.devices} --fitters {self.fitters}: expected at least 0 and 1")
        return Plan(self.out, self.scale or ("full" if self.devices else "cpu"), self.scenarios, self.drive)

    @property
    def workers(self) -> int:
        """Processes: the first of each device does whatever there is to do, the others fit streets."""
        return self.devices * self.fitters if self.devices and FIT in self.only else max(self.devices, 1)

    def kinds(self, worker: int) -> tuple[str, ...]:
        """What a worker does."""
        return self.only if worker < max(self.devices, 1) else (FIT,)


def main(config: LearnStreets) -> list[dict[str, Any]]:
    """Do what is not done; returns the rows of the scoreboards that there are.

    Raises:
        RunError: a task failed, after everything that does not need it was done.
    """
    plan = config.plan
    tasks, claims = plan.tasks(), Claims(config.out / CLAIMS)
    if config.worker is not None:
        _take_part(config, tasks, claims)
        return []
    # Made before several processes would make it at once.
    Run(plan.streets, plan.fitting("test", 0).identity)
    claims.forgive()
    wanted = [task for task in tasks if task.kind in config.only]
    if not all(task.done() for task in wanted):
        _start_and_watch(config, wanted, claims)
    boards = {name: plan.board(name) / "scoreboard.json" for name in plan.boards}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in boards.items() if path.exists()}
    rows = [row for name, board in found.items() for row in rows_of(name, board)]
    if rows:
        write_rows(config.out / ROWS, rows)
        print(f"rows: {config.out / ROWS}; pages: " + " ".join(str(boards[n].with_suffix(".html")) for n in found))
    failures = claims.failures()
    if failures:
        told = "; ".join(f"{name}: {message}" for name, message in failures.items())
        raise RunError(f"{len(failures)} tasks failed ({told}); see {config.out / LOGS}, then call again")
    return rows


def _take_part(config: LearnStreets, tasks: Sequence[Task], claims: Claims) -> None:
    """Be a worker.

    Raises:
        RunError: an accelerator was asked for, and JAX finds none.
    """
    if config.devices and jax.default_backend() == "cpu":
        raise RunError(f"--devices {config.devices}, but JAX finds no accelerator; pass --devices 0 to use the CPU")
    assert config.worker is not None
    work(tasks, claims, config.kinds(config.worker))


def _start_and_watch(config: LearnStreets, tasks: Sequence[Task], claims: Claims) -> None:
    """Start the workers and show how far they are, until all have ended.

    Raises:
        RunError: there are fewer devices than were asked for, or a worker died, with what it said last.
    """
    logs, places = config.out / LOGS, _places(config)
    logs.mkdir(exist_ok=True)
    processes: list[subprocess.Popen] = []
    try:
        for number in range(config.workers):
            with (logs / f"worker-{number}.log").open("a", encoding="utf-8") as stream:
                processes.append(_start(config, number, places[number % len(places)], stream))
        with tqdm(total=len(tasks), desc="tasks", unit="task") as bar:
            while any(process.poll() is None for process in processes):
                _show(bar, tasks, claims)
                time.sleep(LOOK)
            _show(bar, tasks, claims)
    finally:
        _end(processes)
    for number, process in enumerate(processes):
        if process.returncode:
            last = (logs / f"worker-{number}.log").read_text(encoding="utf-8").splitlines()[-TOLD:]
            raise RunError(
                f"worker {number} ended with {process.returncode}; it last said:\n" + "\n".join(f"  {x}" for x in last)
            )


def _places(config: LearnStreets) -> list[dict[str, str]]:
    """What puts a process before each device, or before the CPU.

    Raises:
        RunError: there are fewer devices than were asked for.
    """
    if not config.devices:
        return [{"JAX_PLATFORMS": "cpu"}]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = seen.split(",") if seen else [str(number) for number in range(config.devices)]
    if len(names) < config.devices:
        raise RunError(f"--devices {config.devices}, but CUDA_VISIBLE_DEVICES is {seen}; ask for {len(names)}")
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[: config.devices]]


def _start(config: LearnStreets, number: int, place: dict[str, str], stream: IO[str]) -> subprocess.Popen:
    """One worker, with a cache of compiled programs that all share."""
    environment = {
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str((config.out / "compiled").absolute()),
        # Several processes share a device's memory, each taking what it needs.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **os.environ,
        **place,
    }
    command = [sys.executable, __file__, *_flags(config), "--worker", str(number)]
    return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)


def _flags(config: LearnStreets) -> list[str]:
    """The same configuration, from a command line."""
    flags = ["--out", str(config.out), "--devices", str(config.devices), "--fitters", str(config.fitters)]
    flags += ["--scale", config.plan.scale, "--only", *config.only]
    flags += ["--scenarios", str(config.scenarios)] if config.scenarios is not None else []
    return flags + (["--drive", *config.drive] if config.drive else [])


def _show(bar: tqdm, tasks: Sequence[Task], claims: Claims) -> None:
    done = [task.done() for task in tasks]
    bar.n = sum(done)
    running = [task.name for task, finished in zip(tasks, done, strict=True) if not finished and claims.held(task)]
    bar.set_postfix_str(", ".join([*running, *(f"{name} FAILED" for name in claims.failures())]))


def _end(processes: Sequence[subprocess.Popen]) -> None:
    """Tell those that still run to end, and make them."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + ENDING
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    try:
        main(tyro.cli(LearnStreets, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from what is there", file=sys.stderr)
        sys.exit(130)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

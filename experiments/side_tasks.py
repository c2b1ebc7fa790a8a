"""Tasks that several processes share through a folder: each is done by one of them, once what it needs is done.

A process holds the lock of the task that it works on. The system lets go of it however the process ends, so that
another, now or later, takes the task again; what the task keeps of its own progress is the task's affair.
"""

import contextlib
import dataclasses
import fcntl
import pathlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

from host_processes import make_room_for_programs

POLL = 1.0  # seconds between two looks at what others do
LOCKED, FAILED = ".lock", ".failed"


@dataclasses.dataclass(frozen=True)
class Task:
    """A piece of work.

    Attributes:
        name: of the task, fit for a file.
        run: does it; called again after an interruption, it goes on.
        done: whether it is done, by what it left.
        needs: names of the tasks that must be done before.
        kind: what a process may confine itself to.
    """

    name: str
    run: Callable[[], object]
    done: Callable[[], bool]
    needs: tuple[str, ...] = ()
    kind: str = ""


class Claims:
    """Who does what, in a folder that the processes share.

    Args:
        folder: of the locks; made where it does not exist.
    """

    def __init__(self, folder: pathlib.Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    @contextlib.contextmanager
    def claim(self, task: Task) -> Iterator[bool]:
        """Hold a task; yields whether nobody else does."""
        with (self.folder / f"{task.name}{LOCKED}").open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def held(self, task: Task) -> bool:
        """Whether somebody works on it."""
        if not (self.folder / f"{task.name}{LOCKED}").exists():
            return False
        with self.claim(task) as free:
            return not free

    def fail(self, task: Task, told: str) -> None:
        """Note that a task cannot be done; those that need it will not be tried."""
        (self.folder / f"{task.name}{FAILED}").write_text(told, encoding="utf-8")

    def failures(self) -> dict[str, str]:
        """What was noted, by name of the task."""
        found = sorted(self.folder.glob(f"*{FAILED}"))
        return {path.name.removesuffix(FAILED): path.read_text(encoding="utf-8") for path in found}

    def forgive(self) -> None:
        """Forget failures, so that their tasks are tried again."""
        for path in self.folder.glob(f"*{FAILED}"):
            path.unlink()


def work(tasks: Sequence[Task], claims: Claims, kinds: Sequence[str], poll: float = POLL) -> None:
    """Do tasks of the given kinds, in their order, until none is left that could be done; waits for those of others.

    Args:
        tasks: all there are.
        claims: shared with the other processes.
        kinds: of the tasks that this process takes.
        poll: seconds between two looks, while others do what is needed.
    """
    while True:
        ready, waiting = _ready(tasks, claims, kinds)
        if any(_do(task, claims) for task in ready):
            continue
        if not (ready or waiting):
            return
        time.sleep(poll)


def _ready(tasks: Sequence[Task], claims: Claims, kinds: Sequence[str]) -> tuple[list[Task], list[Task]]:
    """Tasks of these kinds that can be begun, and those that may be later."""
    done = {task.name for task in tasks if task.done()}
    lost = _lost(tasks, set(claims.failures()))
    ours = [task for task in tasks if task.kind in kinds and task.name not in done | lost]
    return [t for t in ours if done.issuperset(t.needs)], [t for t in ours if not done.issuperset(t.needs)]


def _lost(tasks: Sequence[Task], failed: set[str]) -> set[str]:
    """Names of those that failed, and of all that need one of them."""
    while more := {task.name for task in tasks if failed.intersection(task.needs)} - failed:
        failed = failed | more
    return failed


def _do(task: Task, claims: Claims) -> bool:
    """Whether the task was ours to do; a failure is noted, and ends nothing but the task."""
    with claims.claim(task) as free:
        if not free or task.done() or task.name in claims.failures():
            return False
        print(f"[{task.name}] begins", flush=True)
        begin = time.perf_counter()
        try:
            task.run()
        except Exception as error:
            traceback.print_exc()
            claims.fail(task, f"{type(error).__name__}: {error}")
        else:
            if not task.done():
                claims.fail(task, "it ended and left nothing that shows it done")
        print(f"[{task.name}] ended after {time.perf_counter() - begin:.1f} s", flush=True)
        make_room_for_programs()
        return True

"""Processes share tasks: each is done once, after what it needs, and a failure ends nothing but what needs it."""

import os
import subprocess
import sys
import textwrap
import time

import pytest
from side_tasks import Claims, Task, work


@pytest.fixture
def claims(tmp_path):
    return Claims(tmp_path / "claims")


class Kitchen:
    """Tasks that leave a file of their name, and the order in which they were done."""

    def __init__(self, folder):
        self.folder, self.order = folder, []

    def task(self, name, *needs, kind="", run=None):
        def cook():
            self.order.append(name)
            (self.folder / name).touch()

        return Task(name, run or cook, (self.folder / name).exists, needs, kind)


@pytest.fixture
def kitchen(tmp_path):
    return Kitchen(tmp_path)


def test_tasks_are_done_once_and_after_what_they_need(kitchen, claims):
    tasks = [kitchen.task("c", "a", "b"), kitchen.task("a"), kitchen.task("b", "a")]
    work(tasks, claims, ("",))
    assert kitchen.order == ["a", "b", "c"]
    work(tasks, claims, ("",))
    assert kitchen.order == ["a", "b", "c"]


def test_only_the_kinds_that_were_asked_for_are_done(kitchen, claims):
    tasks = [kitchen.task("fit", kind="fit"), kitchen.task("other", kind="learn")]
    work(tasks, claims, ("fit",))
    assert kitchen.order == ["fit"]


def test_a_failure_is_noted_and_ends_only_what_needs_it(kitchen, claims, capfd):
    def fail():
        raise ValueError("no flour")

    tasks = [
        kitchen.task("last", "bread"), kitchen.task("bread", "dough"), kitchen.task("dough", run=fail),
        kitchen.task("soup"), kitchen.task("nothing", run=lambda: None),
    ]  # fmt: skip
    work(tasks, claims, ("",))
    assert kitchen.order == ["soup"]
    assert claims.failures() == {
        "dough": "ValueError: no flour", "nothing": "it ended and left nothing that shows it done",
    }  # fmt: skip
    assert "no flour" in capfd.readouterr().err
    claims.forgive()
    work([*tasks[:2], kitchen.task("dough"), *tasks[3:]], claims, ("",))
    assert kitchen.order == ["soup", "dough", "bread", "last"]


HOLDER = """
import pathlib, sys, time
from side_tasks import Claims, Task
folder = pathlib.Path(sys.argv[1])
task = Task("a", lambda: None, (folder / "a").exists)
with Claims(folder / "claims").claim(task) as free:
    assert free
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "a").touch()
"""


def _hold(folder, seconds):
    """Another process that holds task `a`, and does it after so many seconds."""
    program = folder / "holder.py"
    program.write_text(textwrap.dedent(HOLDER))
    path = os.pathsep.join(sys.path)
    command = [sys.executable, str(program), str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_what_another_process_does_is_waited_for_and_not_done_twice(kitchen, claims):
    with _hold(kitchen.folder, 1.0) as other:
        tasks = [kitchen.task("a"), kitchen.task("b", "a")]
        assert claims.held(tasks[0]) and not claims.held(tasks[1])
        work(tasks, claims, ("",), poll=0.02)
        assert other.wait() == 0
    assert kitchen.order == ["b"] and not claims.held(tasks[0])


def test_what_a_process_held_that_was_killed_is_taken_again(kitchen, claims):
    with _hold(kitchen.folder, 600.0) as other:
        other.kill()
    begin = time.monotonic()
    work([kitchen.task("a")], claims, ("",), poll=0.02)
    assert kitchen.order == ["a"] and time.monotonic() - begin < 10

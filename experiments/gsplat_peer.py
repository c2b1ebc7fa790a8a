"""gsplat 1.5.3 on the same tensors, in a process of its own, so that neither side holds the other's device memory.

A question is an `.npz` of arrays and a `.json` of options in a folder that both know; the answer likewise.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from benchmark_timing import Timing

CHILD = pathlib.Path(__file__).resolve().with_name("gsplat_child.py")


class PeerError(RuntimeError):
    """The peer could not answer; the message says why."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the peer measured.

    Attributes:
        timing: of its fastest form.
        notes: which form that is, what the others took, and its peak memory.
        arrays: images and gradients.
        version: of the peer.
    """

    timing: Timing
    notes: dict[str, Any]
    arrays: dict[str, np.ndarray]
    version: str


class GsplatPeer:
    """Asks a child process, which starts with the first question.

    Args:
        child: the program that answers.
    """

    def __init__(self, child: pathlib.Path = CHILD) -> None:
        self._child = child
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="gsplat-peer-")
        self._asked = 0

    def ask(self, kind: str, arrays: dict[str, np.ndarray], **options: Any) -> Answer:
        """Have the peer measure; its memory is free again when this returns.

        Args:
            kind: `images`, `gradient` or `own_splats`, as `gsplat_child.Gsplat` says.
            arrays: the inputs.
            options: further arguments, as JSON can hold them.

        Raises:
            PeerError: if it could not.
        """
        question = pathlib.Path(self._folder.name) / str(self._asked)
        self._asked += 1
        np.savez(question.with_suffix(".npz"), **arrays)
        question.with_suffix(".json").write_text(json.dumps({"kind": kind, **options}), encoding="utf-8")
        if self._process is None:
            command = [sys.executable, str(self._child)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{question}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the wait below says what became of it
        for line in self._process.stdout:
            if line.rstrip().endswith(f"answered {question}"):
                try:
                    return _read_answer(question)
                except PeerError:
                    self._end()  # an error may have broken its device; the next question gets a fresh child
                    raise
            print(f"  gsplat: {line.rstrip()}", flush=True)
        code = self._process.wait()
        self._process = None
        raise PeerError(f"the gsplat process ended with {code}; it needs torch and gsplat 1.5.3, or pass --peer none")

    def close(self) -> None:
        """End the child and remove what was exchanged."""
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None


def _read_answer(question: pathlib.Path) -> Answer:
    answer = json.loads(question.with_suffix(".answer.json").read_text(encoding="utf-8"))
    if "error" in answer:
        raise PeerError(f"gsplat: {answer['error']}")
    file = question.with_suffix(".answer.npz")
    with np.load(file) as stored:
        arrays = dict(stored)
    for used in (file, question.with_suffix(".npz")):
        used.unlink()
    timing = Timing(**{**answer["timing"], "by_input": tuple(answer["timing"]["by_input"])})
    return Answer(timing, answer["notes"], arrays, answer["version"])

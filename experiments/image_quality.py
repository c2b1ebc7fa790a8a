"""How close images are to the truth: of whole views, of some of their pixels, and by how far apart two views are."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from jaxrecon.metrics.image import SSIM_SIGMA, SSIM_WINDOW
from jaxrecon.metrics.lpips import SMALLEST, LpipsWeights, LpipsWeightsError, load_weights, lpips

K1, K2 = 0.01, 0.03  # of structural similarity
LEAST_ERROR = 1e-10  # mean squared error that counts as none: equal images are 100 dB apart, not infinitely many
EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, np.inf)  # of bins of baseline over depth
Images = UInt8[np.ndarray, "view height width 3"]


def perceptual_weights() -> LpipsWeights | None:
    """Weights of LPIPS; None, with a printed reason, where they are missing."""
    try:
        return load_weights()
    except LpipsWeightsError as error:
        print(f"LPIPS is left out: {error}", flush=True)
        return None


def quality(
    rendered: Images,
    recorded: Images,
    static: Bool[np.ndarray, "view height width"] | None = None,
    weights: LpipsWeights | None = None,
) -> dict[str, float | None]:
    """Means over views of psnr (decibels), ssim and lpips; with a mask also psnr_static and psnr_actors.

    Args:
        rendered: images to judge.
        recorded: the truth.
        static: pixels outside all boxes.
        weights: of LPIPS; None leaves it out (null).
    """
    squared = squared_error(rendered, recorded)
    figures: dict[str, float | None] = {"psnr": mean_psnr(rendered, recorded)}
    for name, mask in {} if static is None else {"psnr_static": static, "psnr_actors": ~static}.items():
        values = [_decibels(view[chosen].mean()) for view, chosen in zip(squared, mask, strict=True) if chosen.any()]
        figures[name] = float(np.mean(values)) if values else None
    figures["ssim"] = float(np.mean([similarity(*pair).mean() for pair in zip(rendered, recorded, strict=True)]))
    return figures | {"lpips": perceptual(rendered, recorded, weights)}


def mean_psnr(rendered: Images, recorded: Images) -> float:
    """Mean over views of each view's, decibels."""
    return float(np.mean([_decibels(view.mean()) for view in squared_error(rendered, recorded)]))


def perceptual(rendered: Images, recorded: Images, weights: LpipsWeights | None) -> float | None:
    """Mean LPIPS over views, one after the other; None without weights, or where images are too small for it."""
    if weights is None or min(rendered.shape[1:3]) < SMALLEST:
        return None
    pairs = zip(rendered, recorded, strict=True)
    return float(np.mean([float(lpips(*(jnp.asarray(image) / 255.0 for image in pair), weights)) for pair in pairs]))


def colour_fitted(rendered: Images, recorded: Images) -> Images:
    """Each image after the affine change of each channel that brings it closest to the truth in least squares.

    What is left of an error then is not one of exposure.
    """
    fitted = np.empty_like(rendered)
    for view, channel in np.ndindex(len(rendered), 3):
        x, y = (images[view, ..., channel].astype(np.float64) for images in (rendered, recorded))
        gain = np.mean((x - x.mean()) * (y - y.mean())) / max(x.var(), 1e-9)
        fitted[view, ..., channel] = np.clip(np.round(y.mean() + gain * (x - x.mean())), 0, 255)
    return fitted


def by_parallax(
    rendered: Images, recorded: Images, parallax: Float[np.ndarray, "view height width"]
) -> list[dict[str, Any]]:
    """Error by how far apart the new and the recorded view of a point are: baseline over depth.

    Args:
        rendered: images to judge.
        recorded: the truth.
        parallax: baseline over depth of each pixel; not a number where the depth is unknown.

    Returns:
        For each bin that holds pixels: low, high (null: no bound), share of the pixels of known depth, psnr of all its
        pixels together, and the mean ssim of the windows around them (null where none lies wholly inside an image).
    """
    squared, margin = squared_error(rendered, recorded), SSIM_WINDOW // 2
    alike = np.full(parallax.shape, np.nan)
    for view, pair in enumerate(zip(rendered, recorded, strict=True)):
        alike[view, margin:-margin, margin:-margin] = similarity(*pair)
    known, rows = np.isfinite(parallax), []
    for low, high in itertools.pairwise(EDGES):
        chosen = known & (parallax >= low) & (parallax < high)
        if chosen.any():
            around = alike[chosen & np.isfinite(alike)]
            rows.append(
                {
                    "low": low,
                    "high": high if np.isfinite(high) else None,
                    "share": float(chosen.sum() / known.sum()),
                    "psnr": _decibels(squared[chosen].mean()),
                    "ssim": float(around.mean()) if around.size else None,
                }
            )
    return rows


def similarity(
    image: UInt8[np.ndarray, "height width 3"], reference: UInt8[np.ndarray, "height width 3"]
) -> Float[np.ndarray, "rows columns"]:
    """Structural similarity of every window that lies wholly inside, mean over channels.

    Source: Wang et al. 2004, eq. 13; its mean is ``jaxrecon.metrics.image.ssim``.
    """
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    taps = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    taps, margin = taps / taps.sum(), SSIM_WINDOW // 2
    x, y = (values.astype(np.float64) / 255.0 for values in (image, reference))
    stack = np.stack([x, y, x * x, y * y, x * y])
    for axis in (1, 2):
        stack = scipy.ndimage.correlate1d(stack, taps, axis=axis, mode="nearest")
    mean_x, mean_y, *squares = stack[:, margin:-margin, margin:-margin]
    variance_x, variance_y = squares[0] - mean_x**2, squares[1] - mean_y**2
    numerator = (2 * mean_x * mean_y + K1**2) * (2 * (squares[2] - mean_x * mean_y) + K2**2)
    return (numerator / ((mean_x**2 + mean_y**2 + K1**2) * (variance_x + variance_y + K2**2))).mean(axis=-1)


def squared_error(rendered: Images, recorded: Images) -> Float[np.ndarray, "view height width"]:
    """Mean over channels of squared differences, for colours in [0, 1]."""
    difference = rendered.astype(np.float32) - recorded.astype(np.float32)
    return np.mean((difference / 255.0) ** 2, axis=-1, dtype=np.float64)


def _decibels(error: float) -> float:
    return float(-10 * np.log10(max(error, LEAST_ERROR)))

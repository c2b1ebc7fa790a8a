"""What stands beside a rasterizer's speed: how close its images and gradients are to others."""

from collections.abc import Mapping

import numpy as np

Images = Mapping[str, np.ndarray]  # rgb, depth, alpha of some cameras
_EQUAL = 1e-15  # mean squared error that counts as none: equal images are 150 dB apart, not infinitely many


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio, decibels, from the mean squared error over all cameras, for values in [0, 1]."""
    error = np.mean((image.astype(np.float64) - truth.astype(np.float64)) ** 2)
    return float(-10 * np.log10(max(error, _EQUAL)))


def agreement(images: Images, others: Images, name: str) -> dict[str, float]:
    """How far images are from those of another renderer of that name; depth where something opaque stands."""
    largest = max(float(np.abs(images[key] - others[key]).max()) for key in ("rgb", "alpha"))
    solid = np.minimum(images["alpha"], others["alpha"]) > 0.5
    apart = np.abs(images["depth"] - others["depth"])[solid]
    return {
        f"psnr_against_{name}": psnr(images["rgb"], others["rgb"]),
        f"max_abs_against_{name}": largest,
        f"depth_mean_abs_m_against_{name}": float(apart.mean()) if apart.size else 0.0,
    }


def gradient_agreement(gradients: Images, others: Images) -> dict[str, float]:
    """Relative L2 distance from the other's gradient, per parameter."""
    relative = {}
    for name, gradient in gradients.items():
        other = others[name].astype(np.float64)
        relative[name] = float(np.linalg.norm(gradient - other) / max(np.linalg.norm(other), 1e-30))
    return relative


def box_filtered(rgb: np.ndarray, factor: int) -> np.ndarray:
    """Images of a factor fewer pixels along each side, each the mean of those that it covers."""
    cameras, height, width, channels = rgb.shape
    blocks = rgb.reshape(cameras, height // factor, factor, width // factor, factor, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float64)

"""Pinhole cameras: x right, y down, z forward; pixel centres lie at +0.5.

Intrinsics are a vector ``(fx, fy, cx, cy)`` in pixels, for images without distortion.
"""

from typing import Any

from jaxtyping import Float

Array = Any


def rescale_intrinsics(
    intrinsics: Float[Array, "*b 4"], from_size: tuple[int, int], to_size: tuple[int, int]
) -> Float[Array, "*b 4"]:
    """Intrinsics of the same view resampled from ``from_size`` to ``to_size``, both (width, height) in pixels."""
    xp = intrinsics.__array_namespace__()
    sx, sy = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return intrinsics * xp.asarray([sx, sy, sx, sy], dtype=intrinsics.dtype)


def crop_intrinsics(
    intrinsics: Float[Array, "4"], from_size: tuple[int, int], to_size: tuple[int, int]
) -> Float[Array, "4"]:
    """Intrinsics of the largest centred crop of ``from_size`` with the aspect of ``to_size``, resampled to it.

    The new view lies inside the recorded one, with square scaling: sizes are (width, height) in pixels.
    """
    xp = intrinsics.__array_namespace__()
    scale = max(to_size[0] / from_size[0], to_size[1] / from_size[1])
    left = (from_size[0] - to_size[0] / scale) / 2
    top = (from_size[1] - to_size[1] / scale) / 2
    shift = xp.asarray([0.0, 0.0, left, top], dtype=intrinsics.dtype)
    return (intrinsics - shift) * scale


def project(intrinsics: Float[Array, "*b 4"], points: Float[Array, "*b n 3"]) -> Float[Array, "*b n 2"]:
    """Pixel coordinates of camera-frame points; meaningful where z > 0."""
    xp = points.__array_namespace__()
    focal, centre = intrinsics[..., None, :2], intrinsics[..., None, 2:]
    depth = points[..., 2:]
    safe = xp.where(xp.abs(depth) < 1e-6, xp.full_like(depth, 1e-6), depth)
    return points[..., :2] / safe * focal + centre


def pixel_rays(intrinsics: Float[Array, "*b 4"], width: int, height: int) -> Float[Array, "*b height width 3"]:
    """Camera-frame ray through each pixel centre, scaled so that z = 1."""
    xp = intrinsics.__array_namespace__()
    fx, fy, cx, cy = (intrinsics[..., i, None, None] for i in range(4))
    u = xp.arange(width, dtype=intrinsics.dtype)[None, :] + 0.5
    v = xp.arange(height, dtype=intrinsics.dtype)[:, None] + 0.5
    x, y = xp.broadcast_arrays((u - cx) / fx, (v - cy) / fy)
    return xp.stack([x, y, xp.ones_like(x)], axis=-1)

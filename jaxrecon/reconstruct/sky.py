"""The sky of a log: which pixels of its images show it, and a first texture of it."""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from jaxrecon.reconstruct.views import Views, in_threads, rays_at

_LOWEST_SLOPE = 0.02  # rise of a sky pixel's ray over its z-depth; below it lies the horizon's haze
_ENOUGH_PIXELS = 50_000  # of a whole image for the texture; larger images are sampled


def sky_pixels(views: Views) -> Bool[np.ndarray, "view height width"]:
    """Pixels of the training views that look like open sky; none in held-out views, which are not looked at."""
    mask = np.zeros(views.images.shape[:3], bool)

    def find(view: int) -> None:
        above = _above_horizon(views, view)
        rows = np.flatnonzero(above.any(axis=1))
        if len(rows):
            chosen = slice(rows[0], rows[-1] + 3)  # the smoothness of the last row is judged with two more
            mask[view, chosen] = sky_like(views.images[view, chosen], above[chosen])

    in_threads(find, np.flatnonzero(~views.heldout).tolist())
    return mask


def sky_like(
    image: UInt8[np.ndarray, "height width 3"], above: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """Pixels that look like open sky: above the horizon, smooth, and bright or bluish.

    Args:
        image: sRGB.
        above: pixels whose rays point up.
    """
    red, green, blue = (image[..., channel].astype(np.float32) / 255.0 for channel in range(3))
    grey = (red + green + blue) / 3
    mean, square = (scipy.ndimage.uniform_filter(values, 5) for values in (grey, grey * grey))
    smooth = square - mean * mean < 0.04**2
    bluish = (blue > red + 0.04) & (mean > 0.35)
    return above & smooth & (bluish | (mean > 0.8))


def initial_sky(
    views: Views, sky: Bool[np.ndarray, "view height width"], rows: int, columns: int
) -> Float[np.ndarray, "rows columns 3"]:
    """Sky texture: the mean colour of the sky-like training pixels in each direction, spread to the rest.

    Without any, the topmost pixels of the training images stand in. Below the horizon it takes the mean colour of the
    lowest pixels, which shows through where the ground has gaps.

    Args:
        views: images.
        sky: the pixels of them that show sky.
        rows: of the texture, zenith to nadir.
        columns: of the texture, around.
    """
    training = np.flatnonzero(~views.heldout)
    if not sky[training].any():
        sky = np.zeros_like(sky)
        sky[:, : max(sky.shape[1] // 20, 1)] = True
    sums = in_threads(lambda view: _texel_sums(views, view, sky[view], rows, columns), training.tolist())
    total, weight = (sum(parts) for parts in zip(*sums, strict=True))
    tiled = np.tile(weight > 0, (1, 3))  # the middle copy has neighbours across the azimuth's seam
    nearest = scipy.ndimage.distance_transform_edt(~tiled, return_distances=False, return_indices=True)
    nearest_row, nearest_column = nearest[:, :, columns : 2 * columns]
    texture = (total / np.maximum(weight, 1.0)[..., None])[nearest_row, nearest_column % columns]
    lowest = slice(-max(views.size[1] // 5, 1), None)
    texture[rows // 2 + 1 :] = np.mean([views.images[view, lowest].mean(axis=(0, 1)) for view in training], axis=0)
    return texture / 255.0


def _above_horizon(views: Views, view: int) -> np.ndarray:
    """Pixels (height, width) whose rays, z-depth one, rise in the world: a plane over rows and columns."""
    width, height = views.size
    fx, fy, cx, cy = views.intrinsics[view].astype(np.float64)
    right, down, forward = views.world_from_camera[view, 2, :3].astype(np.float64)
    slope_right = right * (np.arange(width) + 0.5 - cx) / fx
    slope_down = down * (np.arange(height) + 0.5 - cy) / fy
    return slope_right > _LOWEST_SLOPE - forward - slope_down[:, None]


def _texel_sums(views: Views, view: int, chosen: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Summed colours and number of a view's chosen pixels in each texel of the sky."""
    pixel = np.flatnonzero(chosen)[:: max(chosen.size // _ENOUGH_PIXELS, 1)]
    image_row, image_column = np.divmod(pixel, views.size[0])
    directions = rays_at(views, view, image_row, image_column)
    elevation = np.arctan2(directions[:, 2], np.hypot(directions[:, 0], directions[:, 1]))
    row = np.clip(np.round((0.5 - elevation / np.pi) * (rows - 1)).astype(int), 0, rows - 1)
    azimuth = np.arctan2(directions[:, 1], directions[:, 0]) / (2 * np.pi) + 0.5
    texel = row * columns + np.floor(azimuth * columns).astype(int) % columns
    colours = views.images[view, image_row, image_column]
    weights = (*colours.T.astype(np.float64), None)
    red, green, blue, count = (np.bincount(texel, weight, minlength=rows * columns) for weight in weights)
    return np.stack([red, green, blue], axis=-1).reshape(rows, columns, 3), count.reshape(rows, columns)

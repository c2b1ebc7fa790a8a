"""Depths without LiDAR: planes swept through pairs of training images with known poses (Collins, CVPR 1996).

For a driving camera the parallax near the direction of travel is too small to measure, and asphalt has no texture.
So a pixel keeps its depth only where the match is good, unambiguous and moves by enough pixels, and what lies below
the lowest obstacle of its column is taken for the ground, which is known from the path.
"""

import dataclasses
from functools import partial

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Float32, Int
from PIL import Image

from jaxrecon.geometry.cameras import pixel_rays, rescale_intrinsics
from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.points import ground_depths
from jaxrecon.reconstruct.views import Views, box_mask, in_threads, training_by_camera

_WIDTH = 320  # pixels across the grid of measured depths
_MOST_SWEPT = 24  # views of a camera with depths of their own
_BASELINES = (1.0, 3.0)  # metres to the partners, before and after
_PLANES, _NEAREST, _FARTHEST = 48, 3.0, 80.0  # planes, even in inverse depth, and their metres
_WINDOW = 7  # pixels
_FAINT = 0.015  # local contrast (of 1) that counts for nothing
_GOOD, _DISTINCT = 0.4, 0.05  # correlation of a match, and its lead over matches elsewhere
_AGREEING = 0.5  # share of the pixels around one that must be trusted too, and agree with it
_PARALLAX_PX = 1.5  # least displacement against a point at infinity
_GROUND_REACH = 30.0  # metres


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Images of one camera prepared for matching: grey values less their local mean, over their local contrast.

    Attributes:
        view: of ``Views``.
        grid: at the resolution of the measured depths.
        table: at twice that resolution; entry (i, j) is the value at the pixel position (i / 2, j / 2) of the grid.
        world_from_camera: poses.
        intrinsics: of the grid.
    """

    view: Int[np.ndarray, " picture"]
    grid: Float32[np.ndarray, "picture height width"]
    table: Float32[np.ndarray, "picture two_height two_width"]
    world_from_camera: Float[np.ndarray, "picture 4 4"]
    intrinsics: Float[np.ndarray, "picture 4"]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the grid in pixels."""
        return self.grid.shape[2], self.grid.shape[1]


def sweep_depths(
    log: DrivingLog, views: Views, sky: Bool[np.ndarray, "view height width"]
) -> tuple[Float32[np.ndarray, "_ 3"], ...]:
    """Points in the ego frame of each frame of the log, as a LiDAR would give them, from training images alone.

    Boxes and sky are left out. Views without a partner at a metre's distance give ground only; frames that were not
    swept give nothing.

    Args:
        log: whose poses and boxes.
        views: images.
        sky: pixels that show sky.
    """
    clouds: list[list[np.ndarray]] = [[] for _ in range(log.frames)]
    for _, training in training_by_camera(log, views):
        pictures = prepare(views, training)
        count = min(len(training), _MOST_SWEPT)
        swept = np.unique(np.linspace(0, len(training) - 1, count).round().astype(int))
        found = in_threads(partial(_cloud, log, views, sky, pictures), swept.tolist())
        for picture, cloud in zip(swept, found, strict=True):
            clouds[views.frame[training[picture]]].append(cloud)
    return tuple(np.concatenate([np.zeros((0, 3), np.float32), *parts]) for parts in clouds)


def prepare(views: Views, chosen: Int[np.ndarray, " picture"]) -> Pictures:
    """Make some views, all of one camera, ready for matching."""
    width, height = min(views.size[0], _WIDTH), max(round(views.size[1] * min(1.0, _WIDTH / views.size[0])), 1)

    def normalise(view: int) -> tuple[np.ndarray, np.ndarray]:
        image = Image.fromarray(views.images[view]).resize((2 * width, 2 * height), Image.Resampling.BILINEAR)
        grey = np.asarray(image.convert("L"), np.float32) / 255.0
        mean, square = (scipy.ndimage.uniform_filter(values, 2 * _WINDOW) for values in (grey, grey * grey))
        normal = (grey - mean) / np.sqrt(np.maximum(square - mean * mean, 0) + _FAINT**2)
        return normal.reshape(height, 2, width, 2).mean(axis=(1, 3)), scipy.ndimage.uniform_filter(normal, 2)

    grids, tables = zip(*in_threads(normalise, chosen.tolist()), strict=True)
    return Pictures(
        view=chosen,
        grid=np.stack(grids),
        table=np.stack(tables),
        world_from_camera=views.world_from_camera[chosen].astype(np.float64),
        intrinsics=rescale_intrinsics(views.intrinsics[chosen].astype(np.float64), views.size, (width, height)),
    )


def sweep(
    pictures: Pictures, reference: int, partners: list[int]
) -> tuple[Float[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Inverse depth of each pixel of a picture by its best match among planes, and where that can be trusted.

    Args:
        pictures: of one camera.
        reference: which of them to measure.
        partners: which of them to compare it with.
    """
    width, height = pictures.size
    inverse_depths = np.linspace(1 / _FARTHEST, 1 / _NEAREST, _PLANES)
    if not partners:
        return np.full((height, width), 1 / _FARTHEST), np.zeros((height, width), bool)
    scores, seen, moved = (np.full((_PLANES, height, width), 1e-6, np.float32) for _ in range(3))
    for partner in partners:
        still, motion = _lines(pictures, reference, partner)
        far = still[:2] / np.maximum(still[2], 0.1)
        for plane, inverse_depth in enumerate(inverse_depths):
            x, y, z = (line + shift * np.float32(inverse_depth) for line, shift in zip(still, motion, strict=True))
            scale = 1 / np.maximum(z, 0.1)
            x, y = x * scale, y * scale
            inside = (z > 0.1) & (x >= 0.5) & (y >= 0.5) & (x <= width - 0.5) & (y <= height - 0.5)
            row, column = (np.rint(2 * np.where(inside, place, 0)).astype(np.int32) for place in (y, x))
            other = pictures.table[partner].ravel()[row * (2 * width) + column]
            likeness = scipy.ndimage.uniform_filter(pictures.grid[reference] * other, _WINDOW)
            scores[plane] += inside * likeness
            seen[plane] += inside
            displacement = np.maximum(np.abs(x - far[0]), np.abs(y - far[1]))
            np.maximum(moved[plane], inside * displacement, out=moved[plane])
    return _peak(scores / seen, moved, inverse_depths)


def _peak(scores: np.ndarray, moved: np.ndarray, inverse_depths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth of the best score, to a fraction of a plane, and whether it is good, lone, moved and agreed on."""
    best = scores.argmax(axis=0)
    inner = np.clip(best, 1, len(scores) - 2)
    before, at, after = (np.take_along_axis(scores, inner[None] + step, 0)[0] for step in (-1, 0, 1))
    bend = np.maximum(2 * at - before - after, 1e-6)
    place = np.where(best == inner, inner + np.clip((after - before) / (2 * bend), -0.5, 0.5), best)
    displaced = np.take_along_axis(moved, best[None], 0)[0]
    # Planes whose images lie within half a window of the best one are the same match.
    elsewhere = np.where(np.abs(moved - displaced) > _WINDOW / 2, scores, -1.0).max(axis=0)
    top = scores.max(axis=0)
    good = (top > _GOOD) & (top - elsewhere > _DISTINCT) & (displaced > _PARALLAX_PX) & (best == inner)
    value = np.interp(place, np.arange(len(scores)), inverse_depths)
    share = scipy.ndimage.uniform_filter(good.astype(np.float64), 5)
    around = scipy.ndimage.uniform_filter(good * value, 5) / np.maximum(share, 1e-6)
    return value, good & (share > _AGREEING) & (np.abs(value - around) < 0.15 * around + 0.004)


def _partners(pictures: Pictures, reference: int) -> list[int]:
    """The first pictures before and after one that were taken far enough from it."""
    places = pictures.world_from_camera[:, :3, 3]
    distance = np.linalg.norm(places - places[reference], axis=1)
    chosen: set[int] = set()
    for baseline in _BASELINES:
        far = np.flatnonzero((distance >= baseline) & (distance < 3 * baseline))
        chosen |= {*far[far < reference][-1:].tolist(), *far[far > reference][:1].tolist()}
    return sorted(chosen)


def _lines(pictures: Pictures, reference: int, partner: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the partner sees the reference's pixels, homogeneous: the first plus inverse depth times the second."""
    partner_from_reference = inverse(pictures.world_from_camera[partner]) @ pictures.world_from_camera[reference]
    fx, fy, cx, cy = pictures.intrinsics[partner]
    kernel = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    rays = pixel_rays(pictures.intrinsics[reference], *pictures.size)
    still = np.moveaxis(rays @ (kernel @ partner_from_reference[:3, :3]).T, -1, 0)
    return np.ascontiguousarray(still, np.float32), (kernel @ partner_from_reference[:3, 3]).astype(np.float32)


def _cloud(log: DrivingLog, views: Views, sky: np.ndarray, pictures: Pictures, picture: int) -> np.ndarray:
    """Points (n, 3) in the ego frame that one picture shows."""
    view = int(pictures.view[picture])
    frame, (width, height) = int(views.frame[view]), pictures.size
    pose, intrinsics = pictures.world_from_camera[picture], pictures.intrinsics[picture]
    inverse_depth, sure = sweep(pictures, picture, _partners(pictures, picture))
    rays = pixel_rays(intrinsics, width, height)
    ground = 1 / ground_depths(log, pose[:3, 3], (rays @ pose[:3, :3].T).reshape(-1, 3)).reshape(height, width)
    standing = sure & (inverse_depth > 1.25 * ground) & (inverse_depth - ground > 0.02)
    # From the bottom up, the ground goes on until something stands on it.
    open_ground = np.cumsum(scipy.ndimage.binary_opening(standing)[::-1], axis=0)[::-1] == 0
    paved = open_ground & (ground > 1 / _GROUND_REACH)
    value = np.where(paved, ground, np.maximum(inverse_depth, ground))
    row = (np.arange(height) * views.size[1] + views.size[1] // 2) // height
    column = (np.arange(width) * views.size[0] + views.size[0] // 2) // width
    hidden = sky[view][row[:, None], column] | box_mask(log, frame, pose, intrinsics, (width, height), margin=0.1)
    kept = (paved | sure) & ~hidden
    points = rays[kept] / value[kept][:, None]
    return transform_points(inverse(log.world_from_ego[frame]) @ pose, points).astype(np.float32)

"""Does a camera's calibration fit the LiDAR? Where depth jumps, the image has an edge, if both look at the same place.

After Levinson and Thrun, "Automatic Online Calibration of Cameras and Lasers" (RSS 2013): the mean image gradient at
LiDAR depth jumps is compared with what it would be for a camera turned or moved a little.
"""

import dataclasses
import itertools

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Float, Float32, Int

from jaxrecon.geometry.cameras import project, rescale_intrinsics
from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.views import Views, in_threads, lidar_in_world, resize_images

_VIEWS, _WIDTH = 40, 640  # views looked at, and their most pixels across
_REACH_DEG = 0.6  # angle between two LiDAR points that are neighbours
_JUMP, _JUMP_SHARE = 0.5, 0.08  # metres, and share of the depth, that the farther one lies behind
_FEWEST_JUMPS, _MOST_JUMPS = 20, 600  # in a view that counts
_FEWEST_VIEWS, _LEAST_DEGREE_PX = 8, 1.0  # with less, or where a degree is less than this, nothing can be told
_PARTS = 4  # stretches of the drive that judge each other
_FAINT = 0.005  # gradient that counts for nothing
_YAW_PITCH_DEG = np.arange(-3.0, 3.1, 0.5)
_ROLL_DEG = (-2.0, -1.0, 0.0, 1.0, 2.0)
_FAR_DEG = 1.5
_SHIFTS = (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)


@dataclasses.dataclass(frozen=True)
class Misalignment:
    """The small change of a camera's pose under which the LiDAR's depth jumps fall best on edges of the image.

    Attributes:
        rotation_deg: yaw, pitch and roll in which the camera looks farther right, down and clockwise than calibrated.
        shift: metres that it sits farther right, down and ahead.
        score: mean gradient at the depth jumps as calibrated, in standard deviations of the image around.
        contrast: how far the score stands above the median over changes that are far from none.
        jumps: depth jumps a view, on which all this rests.
        gain: what the change adds to it, measured on other views than those that chose it.
        error: standard error of the gain over views.
    """

    rotation_deg: tuple[float, float, float]
    shift: tuple[float, float, float]
    score: float
    contrast: float
    jumps: float
    gain: float
    error: float


@dataclasses.dataclass(frozen=True)
class _Evidence:
    """Depth jumps and image edges of some views of one camera.

    Attributes:
        jumps: camera-frame points in the middle between both sides of a jump, at the depth of the near side.
        view: which of the images a jump belongs to.
        edges: logarithm of the gradient less its local mean, over its local standard deviation.
        intrinsics: of the images.
    """

    jumps: Float32[np.ndarray, "jump 3"]
    view: Int[np.ndarray, " jump"]
    edges: Float32[np.ndarray, "image height width"]
    intrinsics: Float[np.ndarray, "4"]


def misalignment(log: DrivingLog, views: Views, chosen: Int[np.ndarray, " view"]) -> Misalignment | None:
    """The best small change of a camera's pose; None where views, jumps or pixels are too few to tell.

    Args:
        log: with LiDAR.
        views: images.
        chosen: training views of one camera.
    """
    picked = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), _VIEWS)).round().astype(int))]
    evidence = _collect(log, views, picked)
    if evidence.intrinsics[0] * np.radians(1.0) < _LEAST_DEGREE_PX:
        return None
    rotations, shifts = _changes()
    rows = in_threads(lambda change: _scores(evidence, *change), zip(_matrices(rotations), shifts, strict=True))
    scores: np.ndarray = np.stack(rows)
    table = scores[:, np.isfinite(scores).all(axis=0)]
    if table.shape[1] < _FEWEST_VIEWS:
        return None
    given = int(np.flatnonzero((rotations == 0).all(axis=1) & (shifts == 0).all(axis=1))[0])
    far = np.abs(rotations).max(axis=1) >= _FAR_DEG
    behind = table[table.mean(axis=1).argmax()] - table
    equal = behind.mean(axis=1) <= behind.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
    size = np.linalg.norm(rotations, axis=1) + 10 * np.linalg.norm(shifts, axis=1)
    best = int(np.where(equal, size, np.inf).argmin())  # the smallest change of those as good as any
    # A change chosen for most of the drive is judged by the rest: the luckiest of many must not pass for the best,
    # and views that follow each other see the same.
    part = (_PARTS * np.arange(table.shape[1])) // table.shape[1]
    gain = np.empty(table.shape[1])
    for left_out in range(_PARTS):
        choice = table[:, part != left_out].mean(axis=1).argmax()
        gain[part == left_out] = (table[choice] - table[given])[part == left_out]
    return Misalignment(
        rotation_deg=tuple(rotations[best].tolist()),
        shift=tuple(shifts[best].tolist()),
        score=float(table[given].mean()),
        contrast=float((table[given] - np.median(table[far], axis=0)).mean()),
        jumps=len(evidence.jumps) / len(picked),
        gain=float(gain.mean()),
        error=float(gain.std(ddof=1) / np.sqrt(len(gain))),
    )


def _changes() -> tuple[np.ndarray, np.ndarray]:
    """Yaw, pitch, roll (n, 3) in degrees and shifts (n, 3) in metres to try; one of them changes nothing."""
    rotations = list(itertools.product(_YAW_PITCH_DEG, _YAW_PITCH_DEG, _ROLL_DEG))
    shifts = [tuple(metres * np.eye(3)[axis]) for axis in range(3) for metres in _SHIFTS]
    still = [(0.0, 0.0, 0.0)]
    return np.array(rotations + still * len(shifts)), np.array(still * len(rotations) + shifts)


def _matrices(rotations_deg: np.ndarray) -> np.ndarray:
    """Old-from-new camera rotations for yaw to the right, pitch down and roll clockwise."""
    vectors = np.radians(rotations_deg[:, [1, 0, 2]]) * np.array([-1.0, 1.0, 1.0])
    return scipy.spatial.transform.Rotation.from_rotvec(vectors).as_matrix()


def _scores(evidence: _Evidence, rotation: np.ndarray, shift: np.ndarray) -> Float[np.ndarray, " image"]:
    """Mean edge strength at the depth jumps of each image for a camera that is turned and moved."""
    points = (evidence.jumps - shift.astype(np.float32)) @ rotation.astype(np.float32)
    fx, fy, cx, cy = evidence.intrinsics.astype(np.float32)
    images, height, width = evidence.edges.shape
    scale = 1 / np.maximum(points[:, 2], 0.1)
    column = (fx * points[:, 0] * scale + cx).astype(np.int32)
    row = (fy * points[:, 1] * scale + cy).astype(np.int32)
    inside = (column > 0) & (row > 0) & (column < width) & (row < height)
    flat = ((evidence.view * height + row) * width + column)[inside]
    total = np.bincount(evidence.view[inside], evidence.edges.ravel()[flat], images)
    count = np.bincount(evidence.view[inside], minlength=images)
    return np.where(count >= _FEWEST_JUMPS, total / np.maximum(count, 1), np.nan)


def _collect(log: DrivingLog, views: Views, picked: np.ndarray) -> _Evidence:
    """What the picked views show."""
    size = views.size
    if size[0] > _WIDTH:
        size = (_WIDTH, max(round(size[1] * _WIDTH / size[0]), 1))
    intrinsics = rescale_intrinsics(views.intrinsics[picked[0]].astype(np.float64), views.size, size)

    def look(view: int) -> tuple[np.ndarray, np.ndarray]:
        cloud = lidar_in_world(log, int(views.frame[view]))
        points = transform_points(inverse(views.world_from_camera[view].astype(np.float64)), cloud)
        image = resize_images(views.images[view : view + 1], size)[0].astype(np.float32).mean(axis=-1) / 255.0
        return _jumps(points, intrinsics, size), _edges(image)

    jumps, edges = zip(*in_threads(look, picked.tolist()), strict=True)
    return _Evidence(
        jumps=np.concatenate(jumps).astype(np.float32),
        view=np.repeat(np.arange(len(picked)), [len(found) for found in jumps]),
        edges=np.stack(edges),
        intrinsics=intrinsics,
    )


def _jumps(points: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Middles (n, 3) between near points and the nearest far ones beside them, at the depth of the near ones."""
    points = points[points[:, 2] > 2.0]
    pixels = project(intrinsics, points)
    margin = 0.1 * size[0]  # turning the camera brings in what lies a little outside
    near_image = (np.abs(pixels - np.array(size) / 2) < np.array(size) / 2 + margin).all(axis=1)
    points, pixels = points[near_image], pixels[near_image]
    reach = intrinsics[0] * np.radians(_REACH_DEG)
    pairs = scipy.spatial.cKDTree(pixels).query_pairs(reach, output_type="ndarray")
    depth = points[:, 2]
    near, far = np.where((depth[pairs[:, 0]] < depth[pairs[:, 1]])[:, None], pairs, pairs[:, ::-1]).T
    jump = depth[far] - depth[near] > _JUMP + _JUMP_SHARE * depth[near]
    near, far = near[jump], far[jump]
    frontmost = ~np.isin(near, far)
    near, far = near[frontmost], far[frontmost]
    by_gap = np.lexsort((np.linalg.norm(pixels[near] - pixels[far], axis=1), near))
    near, first = np.unique(near[by_gap], return_index=True)
    far = far[by_gap][first]
    some = np.random.default_rng(0).permutation(len(near))[:_MOST_JUMPS]
    near, far = near[some], far[some]
    rays = (points[near] / depth[near, None] + points[far] / depth[far, None]) / 2
    return rays * depth[near, None]


def _edges(image: np.ndarray) -> np.ndarray:
    """Logarithm of the gradient of a grey image (height, width), relative to what is usual around."""
    strength = np.log(scipy.ndimage.gaussian_gradient_magnitude(image, 1.0) + _FAINT)
    window = max(image.shape[1] // 10, 3)
    mean, square = (scipy.ndimage.uniform_filter(values, window) for values in (strength, strength * strength))
    return (strength - mean) / np.sqrt(np.maximum(square - mean * mean, 0) + 1e-3)

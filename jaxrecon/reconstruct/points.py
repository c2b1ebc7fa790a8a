"""Coloured points of a log: LiDAR accumulated in the world and in boxes, and pixels where LiDAR has nothing."""

import dataclasses

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Bool, Float, UInt8

from jaxrecon.geometry.cameras import pixel_rays
from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.logs.driving_log import VEHICLE, DrivingLog, Track
from jaxrecon.reconstruct.views import Views, box_mask, lidar_in_world, project_into

_BOX_SHELL = 0.15  # metres around a box whose points belong neither to the actor nor to the static world
_BOX_FLOOR = 0.12  # metres above a box's bottom that are taken for road
_CLEARANCE = 4.0  # metres around the cameras' path
_NEAR_RANGE, _FAR_RANGE = 15.0, 80.0  # metres, where nothing tells the depth of a pixel


@dataclasses.dataclass(frozen=True)
class Points:
    """Coloured points.

    Attributes:
        positions: metres.
        colours: sRGB in [0, 1].
        distances: from the camera that coloured them, metres.
    """

    positions: Float[np.ndarray, "n 3"]
    colours: Float[np.ndarray, "n 3"]
    distances: Float[np.ndarray, " n"]

    def take(self, index: np.ndarray) -> "Points":
        """The chosen points (indices or a mask)."""
        return Points(self.positions[index], self.colours[index], self.distances[index])

    @staticmethod
    def join(parts: list["Points"]) -> "Points":
        """All points of several sets."""
        if not parts:
            return Points(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
        fields = ("positions", "colours", "distances")
        return Points(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))

    def __len__(self) -> int:
        return len(self.positions)


def accumulate(log: DrivingLog, views: Views, finest: float = 0.04) -> tuple[Points, list[Points]]:
    """LiDAR points coloured by the images of their own frame, split into the static world and each track.

    Held-out frames give nothing, and a point that no training image of its frame sees is dropped.

    Args:
        log: with LiDAR.
        views: its images.
        finest: one point is kept in each cube of this side (metres), the one seen from nearest.

    Returns:
        Points in the world, and one set a track in its box frame.
    """
    static: list[Points] = []
    moving: list[list[Points]] = [[] for _ in log.tracks]
    for view in np.flatnonzero(~views.heldout):
        frame = int(views.frame[view])
        cloud = lidar_in_world(log, frame)
        index, rows, columns, depths = project_into(
            cloud, views.world_from_camera[view], views.intrinsics[view], views.size
        )
        points = Points(cloud[index], views.images[view, rows, columns] / 255.0, depths)
        rest = np.ones(len(points), bool)
        for number, track in enumerate(log.tracks):
            if track.valid[frame]:
                local = transform_points(inverse(track.world_from_box[frame]), points.positions)
                shell, inside = _in_box(local, track.size)
                rest &= ~shell
                moving[number].append(dataclasses.replace(points, positions=local).take(inside))
        static.append(thin(points.take(rest), np.full(rest.sum(), finest)))
    world = Points.join(static)
    return thin(world, np.full(len(world), finest)), [Points.join(parts) for parts in moving]


def thin(points: Points, sides: Float[np.ndarray, " n"]) -> Points:
    """One point a cube, the one seen from nearest.

    Args:
        points: to thin.
        sides: side of the cube (metres) that each point competes in. Points of different sides do not compete, so
            sides should take few values, a factor of 1.1 or more apart.
    """
    if not len(points):
        return points
    cell = np.floor(points.positions / sides[:, None]).astype(np.int64)
    # One 64-bit key a cube: 19 bits an axis and the side; cubes 2^18 apart would collide, 10 km for the finest in use.
    key = np.round(8 * np.log2(sides)).astype(np.int64) & 0x7F
    for axis in range(3):
        key = (key << 19) | ((cell[:, axis] + (1 << 18)) & 0x7FFFF)
    nearest_first = np.lexsort((points.distances, key))
    return points.take(nearest_first[np.unique(key[nearest_first], return_index=True)[1]])


def thin_to(points: Points, target: int, spacing: Float[np.ndarray, " n"]) -> Points:
    """Thin until at most ``target`` points remain, with cubes about proportional to ``spacing`` (metres)."""
    if len(points) <= target:
        return points
    stepped = 2 ** (np.round(2 * np.log2(spacing)) / 2)
    low, high, best = -8.0, 8.0, points.take(np.zeros(0, int))
    for _ in range(12):
        middle = (low + high) / 2
        candidate = thin(points, stepped * 2**middle)
        if len(candidate) > target:
            low = middle
        else:
            high, best = middle, candidate
    return best


def path_spacing(points: Points, camera_positions: Float[np.ndarray, "view 3"]) -> Float[np.ndarray, " n"]:
    """Distance (metres) from the nearest camera, at least 6: what is far may be coarse, as it covers fewer pixels."""
    distance, _ = scipy.spatial.cKDTree(camera_positions).query(points.positions)
    return np.maximum(distance, 6.0)


def mirror(points: Points, category: str) -> Points:
    """A vehicle's points completed by their reflection in its long plane, where it has none of its own."""
    if category != VEHICLE or not len(points):
        return points
    reflected = points.positions * np.array([1.0, -1.0, 1.0])
    gap, _ = scipy.spatial.cKDTree(points.positions).query(reflected)
    # Reflections count as seen from far: thinning prefers what was really seen.
    other = Points(reflected, points.colours, points.distances + 1e3)
    return Points.join([points, other.take(gap > 0.25)])


def fill_box(
    track: Track, views: Views, count: int, random: np.random.Generator, known: Float[np.ndarray, "3"] | None
) -> Points:
    """Random points on a box's sides and top, coloured from the nearest training image that each faces.

    Args:
        track: whose box.
        views: images.
        count: how many.
        random: source of positions.
        known: colour for what no image sees; None takes the mean of what images see, grey if there is nothing.
    """
    length, width, height = track.size
    areas = np.array([width * height, width * height, length * height, length * height, length * width])
    side = random.choice(5, size=count, p=areas / areas.sum())
    axis, sign = np.array([0, 0, 1, 1, 2])[side], np.array([1.0, -1.0, 1.0, -1.0, 1.0])[side]
    unit = random.uniform(-0.5, 0.5, (count, 3))
    unit[np.arange(count), axis] = 0.5 * sign
    positions, normals = unit * track.size * 0.95, np.zeros((count, 3))
    normals[np.arange(count), axis] = sign
    colours, distances = np.zeros((count, 3)), np.full(count, np.inf)
    for view in np.flatnonzero(~views.heldout & track.valid[views.frame]):
        pose = track.world_from_box[views.frame[view]]
        world = transform_points(pose, positions)
        index, rows, columns, depths = project_into(
            world, views.world_from_camera[view], views.intrinsics[view], views.size
        )
        eye = transform_points(inverse(pose), views.world_from_camera[view, None, :3, 3].astype(np.float64))[0]
        facing = np.sum(normals[index] * (eye - positions[index]), axis=1) > 0
        better = facing & (depths < distances[index])
        index, rows, columns = index[better], rows[better], columns[better]
        colours[index], distances[index] = views.images[view, rows, columns] / 255.0, depths[better]
    unseen = ~np.isfinite(distances)
    if known is None:
        known = colours[~unseen].mean(axis=0) if (~unseen).any() else np.full(3, 0.35)
    colours[unseen], distances[unseen] = known, 1e3
    return Points(positions, colours, distances)


def beyond_lidar(
    log: DrivingLog, views: Views, sky: Bool[np.ndarray, "view height width"], count: int, random: np.random.Generator
) -> Points:
    """Points along the rays of training pixels that no LiDAR point covers, that are not sky and in no box.

    Their depth is that of the nearest covered pixel (a facade goes on above the top beam), the road's where the
    ray meets it first, or unknown (log-uniform, 15 to 80 m) far from any covered pixel.
    """
    chosen = np.flatnonzero(~views.heldout)
    share = -(-count // max(len(chosen), 1))
    parts = []
    for view in chosen:
        frame, pose = int(views.frame[view]), views.world_from_camera[view].astype(np.float64)
        depth = lidar_image(log, views, int(view))
        covered = np.isfinite(depth)
        blocked = scipy.ndimage.maximum_filter(covered, size=max(3, 2 * (views.size[0] // 80) + 1)) | sky[view]
        blocked |= box_mask(log, frame, pose, views.intrinsics[view], views.size, margin=0.05)
        rows, columns = np.nonzero(~blocked)
        if not len(rows):
            continue
        picked = random.choice(len(rows), size=min(share, len(rows)), replace=False)
        rows, columns = rows[picked], columns[picked]
        rays = pixel_rays(views.intrinsics[view].astype(np.float64), *views.size)[rows, columns]
        depths = _guess_depths(log, frame, pose, rays @ pose[:3, :3].T, depth, rows, columns, random)
        positions = pose[:3, 3] + depths[:, None] * (rays @ pose[:3, :3].T)
        parts.append(Points(positions, views.images[view, rows, columns] / 255.0, depths))
    joined = Points.join(parts)
    if len(joined):
        # A guess that hangs in the air where a camera will pass would block its view.
        eyes = views.world_from_camera[:, :3, 3].astype(np.float64)
        distance, nearest = scipy.spatial.cKDTree(eyes).query(joined.positions)
        low = joined.positions[:, 2] < eyes[nearest, 2] - 1.0
        joined = joined.take((distance > _CLEARANCE) | low)
    return joined.take(random.permutation(len(joined))[:count])


def lidar_image(log: DrivingLog, views: Views, view: int) -> Float[np.ndarray, "height width"]:
    """z-depth (metres) of the nearest LiDAR point of the same frame in each pixel; infinite where there is none."""
    width, height = views.size
    depth = np.full((height, width), np.inf)
    cloud = lidar_in_world(log, int(views.frame[view]))
    _, rows, columns, depths = project_into(cloud, views.world_from_camera[view], views.intrinsics[view], views.size)
    np.minimum.at(depth, (rows, columns), depths)
    return depth


def sky_like(
    images: UInt8[np.ndarray, "view height width 3"], above: Bool[np.ndarray, "view height width"]
) -> Bool[np.ndarray, "view height width"]:
    """Pixels that look like open sky: above the horizon, smooth, and bright or bluish.

    Args:
        images: sRGB.
        above: pixels whose rays point up.
    """
    values = images.astype(np.float32) / 255.0
    grey = values.mean(axis=-1)
    size = (1, 5, 5)
    mean, square = scipy.ndimage.uniform_filter(grey, size), scipy.ndimage.uniform_filter(grey * grey, size)
    smooth = np.sqrt(np.maximum(square - mean * mean, 0)) < 0.04
    bluish = (values[..., 2] > values[..., 0] + 0.04) & (mean > 0.35)
    return above & smooth & (bluish | (mean > 0.8))


def _in_box(local: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which points lie in a box or the shell around it, and which are the actor's own: the road below it is neither."""
    shell = np.all(np.abs(local) < size / 2 + _BOX_SHELL, axis=1)
    inside = np.all(np.abs(local) < size / 2 + 0.05, axis=1) & (local[:, 2] > -size[2] / 2 + _BOX_FLOOR)
    return shell, inside


def _guess_depths(
    log: DrivingLog, frame: int, pose: np.ndarray, directions: np.ndarray, depth: np.ndarray, rows: np.ndarray,
    columns: np.ndarray, random: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Depth of pixels without LiDAR, metres."""
    unknown = np.exp(random.uniform(np.log(_NEAR_RANGE), np.log(_FAR_RANGE), len(rows)))
    covered = np.isfinite(depth)
    if covered.any():
        gap, nearest = scipy.ndimage.distance_transform_edt(~covered, return_indices=True)
        borrowed = depth[nearest[0][rows, columns], nearest[1][rows, columns]] * random.uniform(0.9, 1.2, len(rows))
        close = gap[rows, columns] < 0.3 * depth.shape[0]
        unknown = np.where(close, borrowed, unknown)
    down = np.minimum(directions[:, 2], -1e-3)
    road = (log.world_from_ego[frame, 2, 3] - pose[2, 3]) / down
    return np.where(directions[:, 2] < -0.02, np.minimum(unknown, road), unknown)

"""Coloured points of a log: LiDAR accumulated in the world and in boxes, and pixels where LiDAR has nothing."""

import dataclasses

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Bool, Float

from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.logs.driving_log import VEHICLE, DrivingLog, Track
from jaxrecon.reconstruct.views import (
    Views,
    box_mask,
    in_threads,
    lidar_in_world,
    nearest_by_key,
    project_into,
    rays_at,
)

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

    def measure(view: int) -> tuple[Points, list[Points]]:
        frame = int(views.frame[view])
        cloud = lidar_in_world(log, frame)
        index, rows, columns, depths = project_into(
            cloud, views.world_from_camera[view], views.intrinsics[view], views.size
        )
        points = Points(cloud[index], views.images[view, rows, columns] / 255.0, depths)
        rest, own = np.ones(len(points), bool), [Points.join([]) for _ in log.tracks]
        for number, track in enumerate(log.tracks):
            if track.valid[frame]:
                local = transform_points(inverse(track.world_from_box[frame]), points.positions)
                shell, inside = _in_box(local, track.size)
                rest &= ~shell
                own[number] = dataclasses.replace(points, positions=local).take(inside)
        return thin(points.take(rest), np.full(rest.sum(), finest)), own

    measured = in_threads(measure, np.flatnonzero(~views.heldout).tolist())
    world = Points.join([static for static, _ in measured])
    moving = [Points.join([own[number] for _, own in measured]) for number in range(len(log.tracks))]
    return thin(world, np.full(len(world), finest)), moving


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
    return points.take(nearest_by_key(key, points.distances))


def thin_to(points: Points, target: int, spacing: Float[np.ndarray, " n"]) -> Points:
    """Thin until at most ``target`` points remain, with cubes about proportional to ``spacing`` (metres)."""
    if len(points) <= target:
        return points
    if not target:
        return points.take(np.zeros(0, int))
    nearest_first = np.argsort(points.distances, kind="stable")  # once here: what is sorted sorts fast
    points, stepped = points.take(nearest_first), 2 ** (np.round(2 * np.log2(spacing[nearest_first])) / 2)
    fine, coarse = (-8.0, len(points)), (8.0, 1)  # logarithm of the cubes' scale, and the points that remain
    best = points.take(np.zeros(1, int))
    for attempt in range(12):
        # Points on surfaces: their number goes with the square of the scale. Halving guards against other laws.
        slope = (coarse[0] - fine[0]) / np.log(fine[1] / coarse[1])
        guess = fine[0] + slope * np.log(fine[1] / (0.99 * target)) if (attempt + 1) % 4 else (fine[0] + coarse[0]) / 2
        candidate = thin(points, stepped * 2**guess)
        if len(candidate) > target:
            fine = guess, len(candidate)
        else:
            coarse, best = (guess, len(candidate)), candidate
            if len(candidate) >= 0.97 * target:
                break
    return best


def path_spacing(points: Points, camera_positions: Float[np.ndarray, "view 3"]) -> Float[np.ndarray, " n"]:
    """Distance (metres) from the nearest camera, at least 6: what is far may be coarse, as it covers fewer pixels."""
    distance, _ = scipy.spatial.cKDTree(camera_positions).query(points.positions, workers=-1)
    return np.maximum(distance, 6.0)


def mirror(points: Points, category: str) -> Points:
    """A vehicle's points completed by their reflection in its long plane, where it has none of its own."""
    if category != VEHICLE or not len(points):
        return points
    reflected = points.positions * np.array([1.0, -1.0, 1.0])
    gap, _ = scipy.spatial.cKDTree(points.positions).query(reflected, workers=-1)
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
    log: DrivingLog, views: Views, sky: Bool[np.ndarray, "view height width"], count: int, seed: int
) -> Points:
    """Points along the rays of training pixels that no LiDAR point covers, that are not sky and in no box.

    Their depth is that of the nearest covered pixel (a facade goes on above the top beam), the road's where the
    ray meets it first, or unknown (log-uniform, 15 to 80 m) far from any covered pixel.
    """
    training = np.flatnonzero(~views.heldout).tolist()
    chosen = [view for view in training if len(log.lidar[views.frame[view]])] or training
    share = -(-count // max(len(chosen), 1))
    reach = max(3, 2 * (views.size[0] // 80) + 1)  # pixels around a measured one that it covers

    def place(view: int) -> Points:
        random = np.random.default_rng([seed, view])
        frame, pose = int(views.frame[view]), views.world_from_camera[view].astype(np.float64)
        _, *measured = project_into(lidar_in_world(log, frame), pose, views.intrinsics[view], views.size)
        blocked = np.zeros(sky[view].shape, bool)
        blocked[measured[0], measured[1]] = True
        blocked = scipy.ndimage.maximum_filter(blocked, size=reach) | sky[view]
        blocked |= box_mask(log, frame, pose, views.intrinsics[view], views.size, margin=0.05)
        free = np.flatnonzero(~blocked)
        rows, columns = np.divmod(random.choice(free, size=min(share, len(free)), replace=False), views.size[0])
        directions = rays_at(views, view, rows, columns)
        depths = _guess_depths(measured, rows, columns, 0.3 * views.size[1], random)
        road = (log.world_from_ego[frame, 2, 3] - pose[2, 3]) / np.minimum(directions[:, 2], -1e-3)
        depths = np.where(directions[:, 2] < -0.02, np.minimum(depths, road), depths)
        return Points(pose[:3, 3] + depths[:, None] * directions, views.images[view, rows, columns] / 255.0, depths)

    joined = Points.join(in_threads(place, chosen))
    if len(joined):
        # A guess that hangs in the air where a camera will pass would block its view.
        eyes = views.world_from_camera[:, :3, 3].astype(np.float64)
        distance, nearest = scipy.spatial.cKDTree(eyes).query(joined.positions, workers=-1)
        low = joined.positions[:, 2] < eyes[nearest, 2] - 1.0
        joined = joined.take((distance > _CLEARANCE) | low)
    return joined.take(np.random.default_rng(seed).permutation(len(joined))[:count])


def ground_depths(
    log: DrivingLog, origin: Float[np.ndarray, "3"], directions: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, " n"]:
    """How far along rays from a camera the ground lies, in units of their length; infinite where they never meet it.

    The ground is the car's own plane where it drove, and reaches out to the sides.

    Args:
        log: whose path.
        origin: in the world.
        directions: in the world.
    """
    path = log.world_from_ego[:, :3, 3]
    tree, ups = scipy.spatial.cKDTree(path[:, :2]), log.world_from_ego[:, :3, 2]
    nearest = np.full(len(directions), tree.query(origin[:2])[1])
    for _ in range(3):  # the pose that a ray meets the ground beside is found by going there
        fall = np.sum(directions * ups[nearest], axis=1)
        height = np.sum((origin - path[nearest]) * ups[nearest], axis=1)
        depth = np.where(fall < -1e-3, height / np.maximum(-fall, 1e-3), np.inf)
        reached = origin[:2] + np.minimum(depth, 200.0)[:, None] * directions[:, :2]
        nearest = tree.query(reached)[1]
    return np.where(depth > 0, depth, np.inf)


def _in_box(local: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which points lie in a box or the shell around it, and which are the actor's own: the road below it is neither."""
    shell = np.all(np.abs(local) < size / 2 + _BOX_SHELL, axis=1)
    inside = np.all(np.abs(local) < size / 2 + 0.05, axis=1) & (local[:, 2] > -size[2] / 2 + _BOX_FLOOR)
    return shell, inside


def _guess_depths(
    measured: list[np.ndarray], rows: np.ndarray, columns: np.ndarray, reach: float, random: np.random.Generator
) -> np.ndarray:
    """Depths (metres) of pixels by the nearest of the measured (rows, columns, depths) within ``reach`` pixels."""
    unknown = np.exp(random.uniform(np.log(_NEAR_RANGE), np.log(_FAR_RANGE), len(rows)))
    if not len(measured[0]):
        return unknown
    tree = scipy.spatial.cKDTree(np.stack(measured[:2], axis=-1))
    gap, nearest = tree.query(np.stack([rows, columns], axis=-1), distance_upper_bound=reach)
    borrowed = np.append(measured[2], np.inf)[nearest] * random.uniform(0.9, 1.2, len(rows))
    return np.where(gap < reach, borrowed, unknown)

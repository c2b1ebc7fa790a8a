"""Who is on the street, and where everybody is in every frame."""

import dataclasses

import numpy as np
from jaxtyping import Float

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import PEDESTRIAN, VEHICLE, EgoVehicle
from jaxrecon.street import models, planner
from jaxrecon.street.config import StreetConfig
from jaxrecon.street.ground import KERB, LANE_WIDTH
from jaxrecon.street.layout import Layout, clearance, rectangle
from jaxrecon.street.primitives import Part
from jaxrecon.street.roads import locate, pose_at
from jaxrecon.street.traffic import (
    FORWARD,
    ONCOMING,
    RAMP,
    Driver,
    Idm,
    Lane,
    accelerate,
    hand_over,
    move,
    side_lane,
)


@dataclasses.dataclass(frozen=True)
class Actor:
    """A road user.

    Attributes:
        identifier: unique in its street.
        category: of ``jaxrecon.logs.driving_log``.
        size: (length, width, height), metres.
        parts: its solids in the box frame.
        poses: world-from-box in every frame.
    """

    identifier: str
    category: str
    size: tuple[float, float, float]
    parts: tuple[Part, ...]
    poses: Float[np.ndarray, "frame 4 4"]


def boxed(
    points: Float[np.ndarray, "*b 2"], yaw: Float[np.ndarray, "*b"] | float, middle: float
) -> Float[np.ndarray, "*b 4 4"]:
    """Box poses on the ground at ``points``, their centres ``middle`` metres up."""
    height = np.full((*points.shape[:-1], 1), middle)
    return rigid(yaw_to_matrix(np.asarray(yaw)), np.concatenate([points, height], -1))


def populate(
    config: StreetConfig, layout: Layout, vehicle: EgoVehicle, generator: np.random.Generator
) -> tuple[tuple[Actor, ...], Float[np.ndarray, "frame 4 4"]]:
    """All road users with their motion, and the poses of the recording car."""
    moving, ego = _traffic(config, layout, vehicle, generator)
    parked = _parked(config, layout, generator)
    walking = _pedestrians(config, layout, parked, generator)
    return tuple(moving + parked + walking), ego


def _styled(generator: np.random.Generator) -> tuple[models.CarStyle, list[Part]]:
    style = models.CAR_STYLES[generator.integers(len(models.CAR_STYLES))]
    colour = models.CAR_COLOURS[generator.integers(len(models.CAR_COLOURS))]
    return style, models.car(style, colour, float(generator.random()))


def _cast(config: StreetConfig, layout: Layout, generator: np.random.Generator, lengths: list[float]) -> list[Driver]:
    """Drivers with their starting places: leaders, oncoming cars, and those from side roads."""
    drivers: list[Driver] = []
    lead, oncoming, sides = 0, 0, 0
    for i, length in enumerate(lengths):
        role = ("lead", "oncoming", "side", "oncoming", "lead")[i % 5]
        if role == "side" and not (layout.junctions or layout.merge is not None):
            role = "oncoming"
        if role == "lead":
            speed = float(generator.uniform(6.2, 7.6)) + 0.6 * lead
            begin = float(generator.uniform(3.0, 6.0))
            slow = (begin, begin + float(generator.uniform(1.5, 2.5)), float(generator.uniform(0.55, 0.75)))
            start = 24.0 + float(generator.uniform(0, 6)) + 30.0 * lead
            drivers.append(Driver(FORWARD, start, speed, speed, length, slow if lead == 0 else (0.0, 0.0, 1.0)))
            lead += 1
        elif role == "oncoming":
            speed = float(generator.uniform(7.0, 10.0))
            start = 48.0 + float(generator.uniform(0, 10)) + 38.0 * oncoming
            drivers.append(Driver(ONCOMING, -start, speed * 0.9, speed, length))
            oncoming += 1
        else:
            drivers.append(_from_side(layout, sides, length, generator))
            sides += 1
    return drivers


def _from_side(layout: Layout, number: int, length: float, generator: np.random.Generator) -> Driver:
    if layout.merge is not None:
        # Joins between the recording car and its leader, or further back on the ramp.
        return Driver(RAMP, -22.0 - 24.0 * number, 6.5, 8.0, length)
    road, station = layout.crossings[0]
    lane: Lane = side_lane(road, 1 if number % 2 == 0 else -1)
    back = 34.0 + 16.0 * (number // 2) + float(generator.uniform(0, 10))
    return Driver(lane, lane.sign * station - back, 6.5, 8.0, length)


def _traffic(
    config: StreetConfig, layout: Layout, vehicle: EgoVehicle, generator: np.random.Generator
) -> tuple[list[Actor], Float[np.ndarray, "frame 4 4"]]:
    """Simulate everyone who drives, the recording car among them."""
    styles = [_styled(generator) for _ in range(config.moving)]
    drivers = _cast(config, layout, generator, [style.size[0] for style, _ in styles])
    desired = float(generator.uniform(9.0, 10.0))
    ego = planner.start(layout, vehicle, float(generator.uniform(7.2, 8.2)), desired)
    everyone, dt = [*drivers, ego.driver], 1 / config.frames_per_second
    recorded = np.zeros((config.frames, 4, 4))
    tracks: list[list[np.ndarray]] = [[] for _ in drivers]
    for frame in range(config.frames):
        time = frame * dt
        recorded[frame] = boxed(np.array([ego.x, ego.y]), np.array(ego.yaw), 0.0)
        for track, driver, (style, _) in zip(tracks, drivers, styles, strict=True):
            track.append(_pose_of(driver, layout, style))
        chosen = [accelerate(driver, everyone, layout, time, Idm()) for driver in drivers]
        planner.drive(ego, everyone, layout, vehicle, time, dt)
        for driver, acceleration in zip(drivers, chosen, strict=True):
            move(driver, acceleration, dt)
            hand_over(driver, layout.merge)
    actors = [
        Actor(f"car-{i}", VEHICLE, style.size, tuple(parts), np.stack(track))
        for i, ((style, parts), track) in enumerate(zip(styles, tracks, strict=True))
    ]
    return actors, recorded


def _pose_of(driver: Driver, layout: Layout, style: models.CarStyle) -> Float[np.ndarray, "4 4"]:
    """Both axles on the lane."""
    axle = 0.6 * driver.length / 2
    points, _ = driver.lane.poses(layout.roads, driver.along + np.array([-axle, axle]))
    yaw = np.arctan2(points[1, 1] - points[0, 1], points[1, 0] - points[0, 0])
    return boxed(points.mean(0), yaw, style.size[2] / 2)


def _parked(config: StreetConfig, layout: Layout, generator: np.random.Generator) -> list[Actor]:
    """Cars in the parking strips, both strips in turn, where no other road is near."""
    actors: list[Actor] = []
    road = layout.main
    cursors = {-1.0: 9.0 + float(generator.uniform(0, 4)), 1.0: 4.0 + float(generator.uniform(0, 6))}
    usable = [side for side in (-1.0, 1.0) if float(road.parking[0 if side > 0 else 1]) > 0]
    while len(actors) < config.parked and usable:
        side = usable[len(actors) % len(usable)]
        style, parts = _styled(generator)
        half = style.size[0] / 2
        station = cursors[side] + half
        cursors[side] = station + half + float(generator.choice([0.9, 1.5, 6.5, 13.0], p=[0.35, 0.3, 0.2, 0.15]))
        if station > config.length:
            usable.remove(side)
            continue
        inner = float(generator.uniform(0.30, 0.42)) + style.size[1] / 2
        lateral = side * (LANE_WIDTH + inner)
        point, heading = pose_at(road, np.array(station), lateral)
        lean = float(generator.normal(0, 0.012))
        yaw = float(heading) + lean + (np.pi if side > 0 else 0.0)
        ends = rectangle(float(point[0]), float(point[1]), yaw, (half + 6.0, style.size[1] / 2))
        if layout.junctions and min(abs(station - meet) for meet in layout.junctions) < 19.0:
            continue
        if locate(layout.roads[1], ends[:, 0], ends[:, 1]).outside.min() < 1.0:
            continue
        pose = boxed(point, np.array(yaw), style.size[2] / 2)
        poses = np.repeat(pose[None], config.frames, 0)
        actors.append(Actor(f"parked-{len(actors)}", VEHICLE, style.size, tuple(parts), poses))
    return actors


def _pedestrians(
    config: StreetConfig, layout: Layout, parked: list[Actor], generator: np.random.Generator
) -> list[Actor]:
    """People who walk along the pavements and keep clear of each other and of the roads."""
    actors: list[Actor] = []
    times = np.arange(config.frames) / config.frames_per_second
    for _ in range(60 * config.pedestrians):
        if len(actors) == config.pedestrians:
            break
        side = float(generator.choice([-1.0, 1.0]))
        way = float(generator.choice([-1.0, 1.0]))
        speed = float(generator.uniform(0.9, 1.6))
        station = float(generator.uniform(5.0, min(config.length, 105.0))) + way * speed * times
        off = float(generator.uniform(1.55, 2.35))
        kerb = float(layout.main.left if side > 0 else layout.main.right)
        points, heading = pose_at(layout.main, station, side * (kerb + off))
        if np.abs(clearance(layout.roads, points) - off).max() > 0.35:
            continue
        height = float(generator.uniform(1.58, 1.88))
        parts, size = models.pedestrian(height, generator)
        poses = boxed(points, heading + (np.pi if way < 0 else 0.0), KERB + size[2] / 2)
        if any(np.linalg.norm(poses[:, :2, 3] - other.poses[:, :2, 3], axis=1).min() < 1.2 for other in actors):
            continue
        actors.append(Actor(f"walker-{len(actors)}", PEDESTRIAN, size, tuple(parts), poses))
    return actors


def outlines(actor: Actor) -> Float[np.ndarray, "frame 4 2"]:
    """The box seen from above, in every frame."""
    half = np.array(actor.size[:2]) / 2
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half
    return signs @ np.swapaxes(actor.poses[:, :2, :2], -1, -2) + actor.poses[:, None, :2, 3]

"""The recorded driver: lane following by pure pursuit, speed by the Intelligent Driver Model, on a kinematic bicycle.

It is privileged: it knows the lane, the bends ahead and where everybody is.
"""

import dataclasses

import numpy as np

from jaxrecon.logs.driving_log import EgoVehicle
from jaxrecon.street.layout import Layout
from jaxrecon.street.roads import locate
from jaxrecon.street.traffic import FORWARD, Driver, Idm, accelerate

STEERING_LIMIT, STEERING_RATE = np.radians(40.0), np.radians(28.0)
JERK = 3.0  # m/s^3 that the driver prefers not to exceed while speeding up or easing off


@dataclasses.dataclass
class Ego:
    """The recording car, at its rear axle.

    Attributes:
        x: metres.
        y: metres.
        yaw: radians.
        speed: m/s.
        steering: radians, to the left.
        acceleration: m/s^2.
        driver: its place in the traffic, as the others see it.
    """

    x: float
    y: float
    yaw: float
    speed: float
    steering: float
    acceleration: float
    driver: Driver


def start(layout: Layout, vehicle: EgoVehicle, speed: float, desired: float) -> Ego:
    """The recording car in its lane at station 0."""
    point, heading = FORWARD.poses(layout.roads, np.array(0.0))
    driver = Driver(FORWARD, vehicle.centre_ahead, speed, desired, vehicle.length)
    return Ego(float(point[0]), float(point[1]), float(heading), speed, 0.0, 0.0, driver)


def drive(ego: Ego, everyone: list[Driver], layout: Layout, vehicle: EgoVehicle, time: float, dt: float) -> None:
    """Plan and move the recording car by one step."""
    wish = accelerate(ego.driver, everyone, layout, time, Idm(acceleration=1.4, headway=1.5, jam=3.0))
    smooth = float(np.clip(wish, ego.acceleration - JERK * dt, ego.acceleration + JERK * dt))
    acceleration = min(smooth, wish) if wish < -2.0 else smooth
    target = _pursue(ego, layout, vehicle)
    ego.steering = float(np.clip(target, ego.steering - STEERING_RATE * dt, ego.steering + STEERING_RATE * dt))
    speed = max(ego.speed + acceleration * dt, 0.0)
    ego.acceleration = (speed - ego.speed) / dt
    travelled = (ego.speed + speed) / 2 * dt
    turn = travelled * np.tan(ego.steering) / vehicle.wheelbase
    chord = travelled * np.sinc(turn / 2 / np.pi)
    ego.x += chord * np.cos(ego.yaw + turn / 2)
    ego.y += chord * np.sin(ego.yaw + turn / 2)
    ego.yaw += turn
    ego.speed = speed
    _report(ego, layout, vehicle)


def _pursue(ego: Ego, layout: Layout, vehicle: EgoVehicle) -> float:
    """Steering of the arc through a point of the lane ahead.

    Source: Coulter, "Implementation of the pure pursuit path tracking algorithm", CMU-RI-TR-92-01, 1992.
    """
    place = locate(layout.main, np.array(ego.x), np.array(ego.y))
    ahead = 3.5 + 0.45 * ego.speed
    goal, _ = FORWARD.poses(layout.roads, np.asarray(place.station) + ahead)
    dx, dy = float(goal[0]) - ego.x, float(goal[1]) - ego.y
    across = -np.sin(ego.yaw) * dx + np.cos(ego.yaw) * dy
    curvature = 2 * across / (dx * dx + dy * dy)
    return float(np.clip(np.arctan(curvature * vehicle.wheelbase), -STEERING_LIMIT, STEERING_LIMIT))


def _report(ego: Ego, layout: Layout, vehicle: EgoVehicle) -> None:
    middle_x = ego.x + vehicle.centre_ahead * np.cos(ego.yaw)
    middle_y = ego.y + vehicle.centre_ahead * np.sin(ego.yaw)
    ego.driver.along = float(locate(layout.main, np.array(middle_x), np.array(middle_y)).station)
    ego.driver.speed = ego.speed

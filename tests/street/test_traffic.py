"""The Intelligent Driver Model against its closed form, and whole drives against shapely."""

import numpy as np
import pytest
import shapely

from jaxrecon.logs.driving_log import PEDESTRIAN, EgoVehicle
from jaxrecon.street.config import LAYOUTS, StreetConfig
from jaxrecon.street.layout import make_layout
from jaxrecon.street.road_map import make_map
from jaxrecon.street.roads import locate
from jaxrecon.street.script import outlines, populate
from jaxrecon.street.traffic import FORWARD, Idm, equilibrium_gap, idm

EGO = EgoVehicle()


@pytest.fixture(scope="module", params=[*((kind, 0) for kind in LAYOUTS), ("junction", 1), ("merge", 2)], ids=str)
def drive(request):
    kind, seed = request.param
    config = StreetConfig(layout=kind)
    layout = make_layout(config, np.random.default_rng(seed))
    actors, ego = populate(config, layout, EGO, np.random.default_rng(seed + 100))
    return config, layout, actors, ego


def _ego_outline(ego):
    half = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [EGO.length / 2, EGO.width / 2] + [EGO.centre_ahead, 0]
    return half @ np.swapaxes(ego[:, :2, :2], -1, -2) + ego[:, None, :2, 3]


@pytest.mark.parametrize("speed", [0.0, 3.0, 7.5])
def test_equilibrium_gap_is_steady(speed):
    gap = equilibrium_gap(speed, 10.0)
    assert float(idm(speed, 10.0, gap, 0.0)) == pytest.approx(0.0, abs=1e-12)
    assert float(idm(speed, 10.0, gap - 0.5, 0.0)) < 0 < float(idm(speed, 10.0, gap + 0.5, 0.0))


def test_a_follower_settles_at_the_equilibrium_gap():
    gap, speed, dt = 40.0, 9.0, 0.1
    for _ in range(3000):
        acceleration = float(idm(speed, 10.0, gap, speed - 6.0))
        gap += (6.0 - speed - acceleration * dt / 2) * dt
        speed += acceleration * dt
    assert speed == pytest.approx(6.0, abs=1e-3)
    assert gap == pytest.approx(equilibrium_gap(6.0, 10.0), abs=1e-2)


def test_free_road_acceleration_is_the_largest_from_standstill():
    assert float(idm(0.0, 10.0, np.inf, 0.0)) == pytest.approx(Idm().acceleration)


def test_nobody_overlaps(drive):
    _, _, actors, ego = drive
    shapes = [shapely.polygons(outlines(a)) for a in actors] + [shapely.polygons(_ego_outline(ego))]
    names = [a.identifier for a in actors] + ["ego"]
    for i in range(len(shapes)):
        for j in range(i):
            clash = shapely.intersects(shapes[i], shapes[j])
            assert not clash.any(), f"{names[i]} and {names[j]} overlap in frame {clash.argmax()}"


def test_recorded_driver_keeps_its_lane_and_its_comfort(drive):
    config, layout, _, ego = drive
    place = locate(layout.main, ego[:, 0, 3], ego[:, 1, 3])
    assert np.abs(place.lateral - FORWARD.lateral).max() < 0.3
    yaw = np.unwrap(np.arctan2(ego[:, 1, 0], ego[:, 0, 0]))
    step = np.diff(place.station) * config.frames_per_second
    assert np.abs(np.diff(yaw) * config.frames_per_second * step).max() < 2.8  # lateral acceleration, m/s^2
    assert place.station[-1] - place.station[0] > 50
    # It catches up with somebody slower, so following is part of the log.
    assert step[-40:].mean() < 8.8


def test_people_walk_beside_the_road_and_cars_stay_on_it(drive):
    config, layout, actors, ego = drive
    drivable = shapely.union_all([shapely.Polygon(p) for p in make_map(layout, config.length).drivable])
    assert drivable.is_valid
    shapely.prepare(drivable)
    assert shapely.contains(drivable, shapely.polygons(_ego_outline(ego))).all()
    for actor in actors:
        shapes = shapely.polygons(outlines(actor)[:: config.frames // 10])
        on_map = np.abs(actor.poses[:: config.frames // 10, 0, 3]) < 120
        if actor.category == PEDESTRIAN:
            assert not shapely.intersects(drivable, shapes).any(), actor.identifier
        else:
            assert shapely.contains(drivable, shapes)[on_map].all(), actor.identifier

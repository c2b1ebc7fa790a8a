"""The bird's-eye view shows things where, and as large as, they are."""

import numpy as np
import pytest

from jaxrecon.viz import BirdsEyeConfig, Ground, Moment, box_corners, draw_birds_eye, pixels_from_world
from jaxrecon.viz.palette import ACTOR, BACKGROUND, EVENT_COLOURS, OBSTACLE

EMPTY = Ground(route=np.zeros((0, 2)), obstacles=np.zeros((0, 2)))


def moment(ego=(0.0, 0.0, 0.0, 4.0, 2.0), actors=(), events=(False,) * 4) -> Moment:
    return Moment(
        ego=np.array(ego, float),
        actors=np.array(actors, float).reshape(-1, 5),
        trail=np.zeros((0, 2)),
        events=np.array(events, bool),
    )


def test_north_up_puts_world_axes_on_image_axes():
    config = BirdsEyeConfig(width=200, height=100, metres=50.0, ego_up=False, ego_row=0.5)
    ego = np.array([10.0, 20.0, 1.0, 4.0, 2.0])
    points = np.array([[10.0, 20.0], [15.0, 20.0], [10.0, 25.0]])
    # Two pixels a metre: east goes right, north goes up.
    np.testing.assert_allclose(pixels_from_world(config, ego, points), [[100, 50], [110, 50], [100, 40]], atol=1e-9)


@pytest.mark.parametrize("heading", [0.0, 0.7, np.pi / 2, -3.0])
def test_ego_up_puts_what_lies_ahead_above(heading):
    config = BirdsEyeConfig(width=100, height=100, metres=100.0, ego_row=0.5)
    ahead, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    ego = np.array([3.0, -2.0, heading, 4.0, 2.0])
    pixels = pixels_from_world(config, ego, np.stack([ego[:2] + 10 * ahead, ego[:2] + 10 * left]))
    np.testing.assert_allclose(pixels, [[50, 40], [40, 50]], atol=1e-9)


@pytest.mark.parametrize("heading", [0.0, 0.4, 2.5])
def test_box_corners_have_the_sides_of_the_box(heading):
    corners = box_corners(np.array([1.0, 2.0, heading, 4.0, 2.0]))
    np.testing.assert_allclose(corners.mean(0), [1.0, 2.0], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(corners - np.roll(corners, -1, 0), axis=-1), [2, 4, 2, 4], atol=1e-12)
    forward = corners[:2].mean(0) - corners.mean(0)
    np.testing.assert_allclose(forward, 2 * np.array([np.cos(heading), np.sin(heading)]), atol=1e-12)


@pytest.mark.parametrize("heading", [0.0, 0.6])
def test_actor_covers_its_area_at_its_place(heading):
    config = BirdsEyeConfig(width=200, height=200, metres=40.0, ego_up=False, ego_row=0.5)
    actor = (8.0, 6.0, heading, 6.0, 4.0)
    image = draw_birds_eye(config, EMPTY, moment(actors=[actor])).astype(int)
    mask = np.abs(image - np.array(ACTOR)).max(-1) < 40
    rows, columns = np.nonzero(mask)
    expected = pixels_from_world(config, moment().ego, np.array([actor[:2]]))[0]
    np.testing.assert_allclose([columns.mean(), rows.mean()], expected, atol=2.0)
    # 6 m x 4 m at 5 px/m is 600 px; outline and heading mark take about 80 of them.
    assert 450 < mask.sum() <= 610


def test_obstacles_and_events_are_drawn_and_nothing_else_changes():
    config = BirdsEyeConfig(width=100, height=100, metres=50.0, ego_up=False, ego_row=0.5)
    ground = Ground(route=np.zeros((0, 2)), obstacles=np.array([[10.0, 10.0]]), obstacle_size=2.0)
    plain = draw_birds_eye(config, ground, moment())
    # A 2 m cell at 2 px/m, 10 m east and north of the ego: 4 x 4 pixels around column 70, row 30.
    np.testing.assert_array_equal(plain[29:31, 69:71], np.broadcast_to(OBSTACLE, (2, 2, 3)))
    assert tuple(plain[20, 70]) == BACKGROUND
    for kind, colour in enumerate(EVENT_COLOURS):
        events = np.arange(4) == kind
        marked = draw_birds_eye(config, ground, moment(events=events))
        assert tuple(marked[50, 2]) == colour
        np.testing.assert_array_equal(marked[10:40, 10:90], plain[10:40, 10:90])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 3, "BirdsEyeConfig.width: expected at least 16 pixels, received 3"),
        ("metres", -1.0, "BirdsEyeConfig.metres: expected a positive length, received -1.0"),
        ("ego_row", 1.5, "BirdsEyeConfig.ego_row: expected a fraction in \\[0, 1\\], received 1.5"),
    ],
)
def test_bad_config_is_named(field, value, message):
    with pytest.raises(ValueError, match=message):
        BirdsEyeConfig(**{field: value})

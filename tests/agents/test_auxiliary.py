"""From where events threaten, on a straight road among cars at known places, and what the loss makes of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.agents.auxiliary import auxiliary_loss, event_sides
from jaxrecon.agents.outputs import ContinuousOutput, PolicyOutput
from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import DrivingLog, Track
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Perturbation, Simulator, SimulatorConfig, build_world, default_params

SPEED, FRAMES, DT = 8.0, 40, 0.1
CAR = np.array([4.0, 1.8, 1.5])
HEADS = ((1, 2, 3), (0,))
PARAMS = default_params(position_threshold=5.0)


def track(x: float, y: float, speed: float) -> Track:
    along = x + speed * DT * np.arange(FRAMES)
    place = np.stack([along, np.full(FRAMES, y), np.full(FRAMES, 0.75)], axis=-1)
    pose = rigid(yaw_to_matrix(np.zeros(FRAMES)), place)
    return Track(f"car {x} {y}", "vehicle", CAR, pose, np.ones(FRAMES, bool))


def simulator(*tracks: Track) -> Simulator:
    """A car recorded at 8 m/s, straight along x from the origin, for four seconds."""
    x = SPEED * DT * np.arange(FRAMES)
    log = DrivingLog(
        name="straight",
        timestamps=DT * np.arange(FRAMES),
        world_from_ego=rigid(np.tile(np.eye(3), (FRAMES, 1, 1)), np.stack([x, 0 * x, 0 * x], axis=-1)),
        tracks=tracks,
    )
    return Simulator(build_world(log, None, None, occupancy.empty()), SimulatorConfig(render=False))


def sides_of(chosen: Simulator, lateral=0.0, heading=0.0) -> dict[str, float]:
    """At the start of a clip, so many metres and radians to the left of the recorded pose."""
    off = Perturbation(jnp.full(1, lateral), jnp.full(1, heading), jnp.ones(1))
    state, _ = chosen.reset_at(jax.random.key(0), jnp.zeros(1, jnp.int32), off, PARAMS, draw=False)
    names = [name for name, _ in chosen.config.terms]
    return dict(zip(names, np.asarray(event_sides(chosen, state))[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("cars", "expected"),
    [
        ((track(18.0, 0.0, SPEED),), {"dynamic": 1}),
        ((track(-12.0, 0.0, SPEED),), {"dynamic": -1}),
        ((track(-12.0, 0.0, SPEED), track(40.0, 0.0, SPEED)), {"dynamic": -1}),
        ((track(60.0, 0.0, SPEED),), {"dynamic": 0}),
        ((track(8.0, 3.0, 0.0),), {"dynamic": 0, "static": 1}),
        ((track(8.0, -3.0, 0.0),), {"dynamic": 0, "static": -1}),
        ((), {"dynamic": 0, "static": 0}),
    ],
)
def test_collisions_threaten_from_where_others_are(cars, expected):
    assert sides_of(simulator(*cars)) == {"dynamic": 0, "static": 0, "position": 0, "heading": 0} | expected


def test_departures_threaten_from_the_side_to_which_the_car_is_off():
    empty = simulator()
    assert sides_of(empty, 0.5, 0.1) == {"dynamic": 0, "static": 0, "position": 1, "heading": 1}
    assert sides_of(empty, -0.5, -0.1) == {"dynamic": 0, "static": 0, "position": -1, "heading": -1}


def slopes(sides, advantage):
    """How the loss changes with the logits of one uniform row whose middle anchors were taken."""
    action = jnp.array([[1, 1]])

    def loss(logits):
        output = PolicyOutput(logits[0][None], logits[1][None], jnp.zeros((1, 4)))
        return auxiliary_loss(output.below(action), advantage, sides, jnp.ones(1, bool), HEADS)

    return jax.grad(loss)(jnp.zeros((2, 3)))


def test_probability_moves_away_from_what_threatens_and_towards_what_turned_out_well():
    ahead, bad = jnp.array([[1.0, 0, 0, 0]]), jnp.array([[-1.0, -1, -1, -1]])
    lateral, longitudinal = slopes(ahead, bad)
    # Descending: slower becomes more probable, as fast or faster less; the lateral head is left alone.
    assert longitudinal[0] < 0 < longitudinal[1] and longitudinal[1] == longitudinal[2] and not lateral.any()
    np.testing.assert_allclose(longitudinal, -slopes(ahead, -bad)[1])
    np.testing.assert_allclose(longitudinal, -slopes(-ahead, bad)[1])
    left = jnp.array([[0, 0, 1.0, 0]])
    lateral, longitudinal = slopes(left, bad)
    assert lateral[0] < 0 < lateral[2] and not longitudinal.any()


def test_the_loss_is_its_formula_and_rows_that_do_not_count_do_not():
    rng = np.random.default_rng(0)
    below, advantage = rng.random((6, 2)), rng.normal(size=(6, 4))
    sides, valid = rng.integers(-1, 2, (6, 4)), np.array([1, 1, 0, 1, 0, 1], bool)
    pulls = np.stack([(advantage * sides)[:, [1, 2, 3]].sum(1), (advantage * sides)[:, 0]], axis=1)
    expected = (pulls * below)[valid].sum() / valid.sum()
    arrays = (jnp.asarray(x, jnp.float32) for x in (below, advantage, sides))
    np.testing.assert_allclose(auxiliary_loss(*arrays, jnp.asarray(valid), HEADS), expected, rtol=1e-5)


def test_probability_below_an_action_of_either_kind():
    output = PolicyOutput(jnp.log(jnp.array([[0.2, 0.3, 0.5]])), jnp.log(jnp.array([[0.6, 0.3, 0.1]])), None)
    np.testing.assert_allclose(output.below(jnp.array([[2, 1]])), [[0.5, 0.6]], rtol=1e-6)
    mean, spread = jnp.array([[0.1, -1.0]]), jnp.log(jnp.array([[0.2, 2.0]]))
    continuous = ContinuousOutput(mean, spread, None)
    # (acceleration, steering): one deviation above its mean, and at it.
    np.testing.assert_allclose(continuous.below(jnp.array([[1.0, 0.1]])), [[0.5, 0.8413447]], rtol=1e-5)


def test_environments_that_cannot_tell_have_no_sides():
    assert event_sides(dataclasses.make_dataclass("Other", [])(), None) is None

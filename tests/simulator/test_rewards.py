import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.metrics import COMFORT, EVENTS, Motion, Surroundings, Trace
from jaxrecon.simulator.rewards import ALL_TERMS, RAD_TERMS, reward_weights, rewards
from jaxrecon.simulator.situation import Situation

CALM = {name: 0.0 for name in COMFORT}


def situation(batch: tuple[int, ...] = (1,), events=(), speed=5.0, progress=0.0, motion=CALM, **around) -> Situation:
    zero, no = jnp.zeros(batch), jnp.zeros(batch, bool)
    surroundings = dict(
        overlap=no, at_fault=no, time_to_collision=zero + 3.0, off_road_distance=zero - 1.0, own_lane_distance=zero,
        red_light=no, log_divergence=zero, clip_route=zero, surface_known=~no, lanes_known=~no, lights_known=~no,
    )  # fmt: skip
    for name, value in around.items():
        surroundings[name] = jnp.broadcast_to(jnp.asarray(value), batch)
    trace = Trace(
        position=jnp.zeros((*batch, 2)), heading=zero, speed=zero + speed, acceleration=zero, lateral_acceleration=zero,
        path_distance=zero, path_heading_error=zero, progress=zero, expert_progress=zero, time=zero,
    )  # fmt: skip
    happened = jnp.asarray([name in events for name in EVENTS])
    return Situation(
        events=jnp.broadcast_to(happened, (*batch, 4)),
        progress=zero + progress,
        motion=Motion(**{name: zero + value for name, value in (CALM | motion).items()}),
        trace=trace,
        surroundings=Surroundings(**surroundings),
    )


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_rads_reward_is_minus_the_weight_of_every_event(batch):
    events = jax.random.bernoulli(jax.random.key(0), 0.5, (*batch, 4))
    step = dataclasses.replace(situation(batch), events=events)
    weights = reward_weights({"position": 5.0, "heading": 0.25})
    np.testing.assert_array_equal(rewards(step, weights), -jnp.asarray([1.0, 1.0, 5.0, 0.25]) * events)
    assert tuple(name for name, _ in RAD_TERMS) == EVENTS


def value(name: str, step: Situation) -> float:
    terms = tuple((known, term) for known, term in ALL_TERMS if known == name)
    return float(rewards(step, reward_weights({}, terms), terms)[0, 0])


@pytest.mark.parametrize(("driven", "expected"), [(9.5, 1.25), (10.0, 1.25), (10.1, 0.0)])
def test_metres_count_until_the_recorded_driver_is_behind(driven, expected):
    step = situation(progress=1.25)
    trace = dataclasses.replace(step.trace, progress=jnp.full(1, driven), expert_progress=jnp.full(1, 10.0))
    assert value("expert_progress", dataclasses.replace(step, trace=trace)) == expected


@pytest.mark.parametrize(
    ("name", "bad", "expected"),
    [
        ("off_road", dict(off_road_distance=0.01), -1.0),
        ("off_road", dict(off_road_distance=0.0), 0.0),
        ("off_road", dict(off_road_distance=9.0, surface_known=False), 0.0),
        ("wrong_way", dict(own_lane_distance=3.5), -1.0),
        ("wrong_way", dict(own_lane_distance=3.4), 0.0),
        ("wrong_way", dict(own_lane_distance=9.0, lanes_known=False), 0.0),
        ("red_light", dict(red_light=True), -1.0),
        ("at_fault", dict(at_fault=True), -1.0),
        ("progress", dict(progress=1.25), 1.25),
        ("progress", dict(progress=-0.5), -0.5),
        ("time_to_collision", dict(time_to_collision=0.0), -1.0),
        ("time_to_collision", dict(time_to_collision=0.19), -0.8),
        ("time_to_collision", dict(time_to_collision=0.95), 0.0),
        ("time_to_collision", dict(time_to_collision=0.0, speed=0.0), 0.0),
        ("comfort", dict(motion=dict(longitudinal_acceleration=2.5, yaw_rate=-1.0)), -2 / 6),
        ("comfort", dict(motion=dict(longitudinal_acceleration=-4.0, jerk=8.3)), 0.0),
        ("comfort", dict(motion=dict.fromkeys(COMFORT, 9.0)), -1.0),
        ("dynamic", dict(events=("dynamic",)), -1.0),
        ("heading", dict(events=("dynamic", "position")), 0.0),
    ],
)
def test_each_term_of_a_known_step(name, bad, expected):
    assert value(name, situation(**bad)) == pytest.approx(expected, abs=1e-6)
    assert value(name, situation()) == 0.0


def test_a_term_of_ones_own_beside_rads():
    terms = (*RAD_TERMS, ("slow", lambda step: -jnp.maximum(0.0, 10.0 - step.trace.speed)))
    read = rewards(situation(events=("static",), speed=4.0), reward_weights({"slow": 0.5}, terms), terms)
    assert read[0].tolist() == [0.0, -1.0, 0.0, 0.0, -3.0]


def test_weights_are_traced():
    compiled = []

    @jax.jit
    def total(step, weights):
        compiled.append(1)
        return jnp.sum(rewards(step, weights, ALL_TERMS), axis=-1)

    step = situation(events=("static",), progress=2.0)
    given = [reward_weights({"progress": weight, "expert_progress": 0.0}, ALL_TERMS) for weight in (0.0, 0.5, 2.0)]
    read = [float(total(step, weights)[0]) for weights in given]
    assert read == [-1.0, 0.0, 3.0] and len(compiled) == 1
    slope = jax.grad(lambda w: jnp.sum(rewards(step, w, ALL_TERMS)))(reward_weights({}, ALL_TERMS))
    assert slope.values[[name for name, _ in ALL_TERMS].index("progress")] == 2.0


def test_wrong_names_are_named():
    with pytest.raises(ValueError, match=r"no term of the reward is named \['comfrot'\]; its terms are \['dynamic'"):
        reward_weights({"comfrot": 1.0})
    with pytest.raises(ValueError, match=r"several terms named \['static'\]"):
        reward_weights({}, (*RAD_TERMS, RAD_TERMS[1]))
    with pytest.raises(ValueError, match=r"weights are of the terms \['dynamic', .*'heading'\] but the reward has"):
        rewards(situation(), reward_weights(), ALL_TERMS)

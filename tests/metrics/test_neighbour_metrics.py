import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.metrics import COMFORT, EVENTS, Surroundings, Trace, discomfort, motion_of, neighbours, summarise
from jaxrecon.metrics.neighbour_metrics import kinematically_infeasible

STEPS, DT, SPEED = 10, 0.1, 8.0
judge = jax.jit(neighbours)


class Drive:
    """A straight, even drive of some clips, with changes: fields of the trace and the surroundings, (step, clip)."""

    def __init__(self, clips: int = 1, **changes):
        shape = (STEPS, clips)
        time = jnp.broadcast_to(DT * jnp.arange(1, STEPS + 1)[:, None], shape)
        zero, no = jnp.zeros(shape), jnp.zeros(shape, bool)
        ride = dict(
            heading=zero, speed=zero + SPEED, acceleration=zero, lateral_acceleration=zero, path_distance=zero,
            path_heading_error=zero, progress=SPEED * time, expert_progress=SPEED * time, time=time,
        )  # fmt: skip
        around = dict(
            overlap=no, at_fault=no, time_to_collision=zero + 3.0, off_road_distance=zero - 1.0,
            own_lane_distance=zero, red_light=no, log_divergence=zero, clip_route=zero + SPEED * DT * STEPS,
            surface_known=~no, lanes_known=~no, lights_known=~no,
        )  # fmt: skip
        self.events, self.valid = jnp.zeros((*shape, 4), bool), ~no
        for name, value in changes.items():
            fields = ride if name in ride else around
            fields[name] = jnp.broadcast_to(jnp.asarray(value, fields[name].dtype), shape)
        self.trace = Trace(position=jnp.zeros((*shape, 2)), **ride)
        self.surroundings = Surroundings(**around)

    def event(self, step: int, clip: int, name: str) -> "Drive":
        self.events = self.events.at[step, clip, EVENTS.index(name)].set(True)
        return self

    def measures(self):
        return judge(self.trace, self.surroundings, self.events, self.valid)

    def values(self, clip: int = 0) -> dict[str, float]:
        return {name: float(measure.value[clip]) for name, measure in self.measures().items()}


def at(step: int, value=True, otherwise=False) -> jax.Array:
    """A value at one step of every clip."""
    return jnp.where(jnp.arange(STEPS)[:, None] == step, value, otherwise)


def test_a_perfect_drive():
    values = Drive().values()
    ones = {"waymax_progression", "time_to_collision_within_bound", "comfort", "NC", "DAC", "TTC", "EP", "C", "PDMS"}
    ones |= {"HD_score"} | {f"comfort_{name}" for name in COMFORT}
    for name, value in values.items():
        assert value == pytest.approx(float(name in ones), abs=1e-6), name
    assert all(measure.valid.all() for measure in Drive().measures().values())
    assert set(summarise(Drive().measures())) == set(values)


@pytest.mark.parametrize(
    ("change", "name", "kept"),
    [
        (dict(overlap=at(4)), "waymax_overlap", dict(overlap=False)),
        (dict(off_road_distance=at(4, 0.01, -1.0)), "waymax_offroad", dict(off_road_distance=0.0)),
        (dict(own_lane_distance=at(4, 3.5, 0.0)), "waymax_wrong_way", dict(own_lane_distance=3.49)),
        (dict(path_distance=at(4, 5.01, 0.0)), "waymax_off_route", dict(path_distance=5.0)),
        (dict(at_fault=at(4)), "at_fault_collision", dict(overlap=True)),
        (dict(overlap=at(4)), "collision_not_at_fault", dict(overlap=at(4), at_fault=at(5))),
        (dict(red_light=at(4)), "red_light", {}),
    ],
)
def test_what_happened_in_any_step_counts_once(change, name, kept):
    assert Drive(**change).values()[name] == 1.0
    assert Drive(**kept).values()[name] == 0.0
    # nothing after the clip's end counts
    ended = Drive(**change).event(2, 0, "heading")
    assert ended.values()[name] == 0.0


def test_measures_of_what_a_log_does_not_tell_are_not_valid():
    measures = Drive(3, surface_known=jnp.asarray([True, False, True]), lanes_known=jnp.asarray([True, True, False]),
                     lights_known=jnp.asarray([False, True, True]), off_road_distance=9.0, own_lane_distance=9.0,
                     red_light=True).measures()  # fmt: skip
    for name in ("waymax_offroad", "DAC", "PDMS", "HD_score"):
        assert measures[name].valid.tolist() == [True, False, True], name
    assert measures["waymax_wrong_way"].valid.tolist() == [True, True, False]
    assert measures["red_light"].valid.tolist() == [False, True, True]
    for measure in measures.values():
        assert np.all(np.asarray(measure.value)[~np.asarray(measure.valid)] == 0)
    undriven = Drive(2)
    undriven.valid = undriven.valid.at[:, 1].set(False)
    assert all(measure.valid.tolist() == [True, False] for measure in undriven.measures().values())


def test_progression_is_of_the_whole_clip_and_may_exceed_one():
    far = jnp.asarray([0.5, 1.25, -0.5, 1.0])
    drive = Drive(4, progress=SPEED * DT * STEPS * far, clip_route=jnp.asarray([8.0, 8.0, 8.0, 0.5]))
    measures = drive.measures()
    np.testing.assert_allclose(measures["waymax_progression"].value, [0.5, 1.25, -0.5, 0.0], rtol=1e-6)
    assert measures["waymax_progression"].valid.tolist() == [True, True, True, False]
    np.testing.assert_allclose(measures["EP"].value, [0.5, 1.0, 0.0, 1.0], rtol=1e-6)
    early = Drive().event(4, 0, "static")
    assert early.values()["waymax_progression"] == pytest.approx(0.5)


def test_log_divergence_is_the_mean_over_the_clips_steps():
    drive = Drive(log_divergence=jnp.arange(STEPS)[:, None]).event(4, 0, "position")
    assert drive.values()["waymax_log_divergence"] == pytest.approx(np.mean(np.arange(5)))


@pytest.mark.parametrize(
    ("change", "infeasible"),
    [
        (dict(speed=SPEED + 1.03 * jnp.arange(STEPS)[:, None]), False),
        (dict(speed=SPEED + 1.05 * jnp.arange(STEPS)[:, None]), True),
        # the curvature of an even drive is its turn over its way, 0.8 m a step
        (dict(heading=0.29 * 0.8 * jnp.arange(STEPS)[:, None]), False),
        (dict(heading=-0.31 * 0.8 * jnp.arange(STEPS)[:, None]), True),
        # across the half turn where headings jump
        (dict(heading=(3.0 + 0.1 * jnp.arange(STEPS)[:, None] + np.pi) % (2 * np.pi) - np.pi), False),
        # below 0.6 m/s the path counts as straight
        (dict(speed=0.5, heading=1.0 * jnp.arange(STEPS)[:, None]), False),
    ],
)
def test_kinematic_infeasibility_at_its_limits(change, infeasible):
    drive = Drive(**change)
    assert drive.values()["waymax_kinematic_infeasibility"] == float(infeasible)
    broken, known = kinematically_infeasible(drive.trace, drive.valid)
    assert broken[1:].all() == infeasible and not broken[0].any() and known[:, 0].tolist() == [False] + [True] * 9


def test_a_clip_of_one_step_has_no_transition():
    measures = Drive().event(0, 0, "static").measures()
    assert not measures["waymax_kinematic_infeasibility"].valid[0] and measures["waymax_overlap"].valid[0]
    assert not measures["comfort_jerk"].valid[0] and measures["comfort_lateral_acceleration"].valid[0]


STEP = jnp.arange(STEPS)[:, None]
BUMP = (STEP == 3).astype(jnp.float32)


@pytest.mark.parametrize(
    ("name", "comfortable", "harsh"),
    [
        ("longitudinal_acceleration", dict(acceleration=2.39), dict(acceleration=2.4)),
        ("longitudinal_acceleration", dict(acceleration=-4.04), dict(acceleration=-4.06)),
        ("lateral_acceleration", dict(lateral_acceleration=-4.88), dict(lateral_acceleration=-4.9)),
        ("yaw_rate", dict(heading=0.094 * STEP), dict(heading=-0.096 * STEP)),
        # a bump in the heading turns there and back: its second difference is twice itself
        ("yaw_acceleration", dict(heading=0.0192 / 2 * BUMP), dict(heading=0.0194 / 2 * BUMP)),
        ("longitudinal_jerk", dict(acceleration=0.412 * BUMP), dict(acceleration=0.414 * BUMP)),
        ("jerk", dict(lateral_acceleration=-0.836 * BUMP), dict(lateral_acceleration=0.838 * BUMP)),
    ],
)
def test_comfort_at_each_of_its_bounds(name, comfortable, harsh):
    calm, rough = Drive(**comfortable).values(), Drive(**harsh).values()
    assert calm[f"comfort_{name}"] == calm["comfort"] == calm["C"] == 1.0
    assert rough[f"comfort_{name}"] == rough["comfort"] == rough["C"] == 0.0
    assert rough["PDMS"] == pytest.approx(10 / 12, rel=1e-6)


def test_rates_need_their_steps():
    drive = Drive(heading=0.01 * STEP**2, acceleration=0.2 * STEP)
    valid = drive.valid.at[0].set(False)
    motion, known = motion_of(drive.trace, valid)
    assert known[:, 0, COMFORT.index("yaw_acceleration")].tolist() == [False] * 3 + [True] * 7
    assert known[:, 0, COMFORT.index("jerk")].tolist() == [False] * 2 + [True] * 8
    # heading 0.01 k^2: from one step to the next 0.01 (2 k - 1), whose change is 0.02
    np.testing.assert_allclose(motion.yaw_rate[2:, 0], 0.1 * (2 * np.arange(2, 10) - 1), rtol=1e-5)
    np.testing.assert_allclose(motion.yaw_acceleration[3:, 0], 2.0, rtol=1e-3)
    np.testing.assert_allclose(motion.longitudinal_jerk[2:, 0], 2.0, rtol=1e-5)
    assert discomfort(motion).shape == (STEPS, 1, 6)


@pytest.mark.parametrize(
    ("change", "parts", "score"),
    [
        (dict(at_fault=at(9), overlap=at(9)), dict(NC=0, TTC=0), 0.0),
        (dict(off_road_distance=at(2, 0.5, -1.0)), dict(DAC=0), 0.0),
        (dict(time_to_collision=at(2, 0.95, 3.0)), dict(TTC=0), 7 / 12),
        (dict(time_to_collision=at(2, 0.96, 3.0)), dict(TTC=1), 1.0),
        (dict(time_to_collision=0.0, speed=0.0), dict(TTC=1), 1.0),
        (dict(progress=2.0), dict(EP=0.25), (5 + 1.25 + 2) / 12),
        (dict(progress=2.0, clip_route=4.0), dict(EP=1.0), 1.0),
        (dict(overlap=at(9)), dict(NC=1.0), 1.0),
    ],
)
def test_navsims_score(change, parts, score):
    values = Drive(**change).values()
    for name, value in parts.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name
    assert values["PDMS"] == pytest.approx(score, abs=1e-6)


def test_an_obstacle_that_is_hit_costs_half():
    values = Drive().event(9, 0, "static").values()
    assert values["NC"] == 0.5 and values["PDMS"] == pytest.approx(0.5)
    # a road user that is hit counts as such, parked or not
    assert Drive(at_fault=at(9), overlap=at(9)).event(9, 0, "static").values()["NC"] == 0.0
    # of ten steps the last scores a half
    assert values["HD_score"] == pytest.approx(0.95)


def test_hugsims_score_weighs_step_by_step():
    # two of ten steps too near a collision (2/7 left), one of them off the road as well (0), of half the route
    drive = Drive(progress=4.0, time_to_collision=jnp.where(STEP < 2, 0.5, 3.0),
                  off_road_distance=at(0, 0.5, -1.0))  # fmt: skip
    assert drive.values()["HD_score"] == pytest.approx(0.5 * (8 + 2 / 7) / 10, rel=1e-5)
    crash = Drive().event(4, 0, "static").values()
    assert crash["HD_score"] == pytest.approx(0.5 * 4.5 / 5, rel=1e-5)

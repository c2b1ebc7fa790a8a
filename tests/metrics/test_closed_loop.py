import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.metrics.closed_loop import EVENTS, METRICS, Measure, Trace, paired_difference, per_clip, summarise

STEPS, DT = 10, 0.1


def trace(clips: int, **fields) -> Trace:
    time = jnp.broadcast_to(DT * jnp.arange(1, STEPS + 1)[:, None], (STEPS, clips))
    zero = jnp.zeros((STEPS, clips))
    values = dict(
        heading=zero, speed=zero, acceleration=zero, lateral_acceleration=zero, path_distance=zero,
        path_heading_error=zero, progress=zero, expert_progress=zero, time=time,
    )  # fmt: skip
    values.update({name: jnp.broadcast_to(value, (STEPS, clips)) for name, value in fields.items()})
    return Trace(position=jnp.zeros((STEPS, clips, 2)), **values)


def planted(*happened: tuple[int, int, str], clips: int) -> tuple[jax.Array, jax.Array]:
    """Events at (step, clip), and validity up to each clip's first."""
    events = np.zeros((STEPS, clips, 4), bool)
    for step, clip, name in happened:
        events[step, clip, EVENTS.index(name)] = True
    hit = events.any(-1)
    valid = np.cumsum(hit, axis=0) - hit == 0
    return jnp.asarray(events), jnp.asarray(valid)


def test_ratios_count_each_clip_once_and_sum_exactly():
    events, valid = planted(
        (3, 0, "dynamic"), (3, 0, "static"), (5, 1, "static"), (5, 1, "position"), (9, 2, "position"),
        (0, 3, "heading"), clips=8,
    )  # fmt: skip
    result = {name: float(value) for name, value in summarise(per_clip(trace(8), events, valid)).items()}
    assert set(result) == set(METRICS)
    expected = dict(DCR=1 / 8, SCR=1 / 8, PDR=1 / 8, HDR=1 / 8, CR=2 / 8, DR=2 / 8)
    assert {name: result[name] for name in expected} == expected


def test_events_after_the_clip_or_in_a_second_clip_do_not_count():
    events, valid = planted((4, 0, "static"), clips=2)
    events = events.at[7, :, 0].set(True)
    valid = valid.at[6, 1].set(False)
    clips = per_clip(trace(2, path_distance=jnp.arange(STEPS)[:, None]), events, valid)
    assert clips["DCR"].value.tolist() == [0.0, 0.0] and clips["SCR"].value.tolist() == [1.0, 0.0]
    # the mean distance leaves out the step with the event, and all after the clip
    np.testing.assert_allclose(clips["ADD"].value, [np.mean([0, 1, 2, 3]), np.mean(np.arange(6))])


def test_jerk_of_linear_and_alternating_acceleration():
    alternating = jnp.where(jnp.arange(STEPS) % 2 == 0, 1.0, -1.0)[:, None]
    clips = per_clip(
        trace(1, acceleration=-0.3 * jnp.arange(STEPS)[:, None], lateral_acceleration=alternating),
        *planted(clips=1),
    )
    np.testing.assert_allclose(clips["longitudinal_jerk"].value, [3.0], rtol=1e-5)
    np.testing.assert_allclose(clips["lateral_jerk"].value, [20.0], rtol=1e-5)


def test_a_clip_of_one_step_has_no_jerk_and_no_safe_step():
    clips = per_clip(trace(1), *planted((0, 0, "dynamic"), clips=1))
    assert not clips["longitudinal_jerk"].valid[0] and not clips["ADD"].valid[0] and clips["DCR"].valid[0]
    assert np.isnan(summarise(clips)["ADD"])


def test_progress_is_taken_at_the_clips_end_and_clipped():
    time = jnp.arange(1.0, STEPS + 1)[:, None]
    events, valid = planted((3, 1, "static"), clips=5)
    clips = per_clip(
        trace(
            5,
            progress=time * jnp.asarray([0.5, 0.25, 2.0, -1.0, 3.0]),
            expert_progress=time * jnp.asarray([1.0, 1.0, 1.0, 1.0, 0.05]),
        ),
        events,
        valid,
    )
    np.testing.assert_allclose(clips["progress"].value, [0.5, 0.25, 1.0, 0.0, 0.0], rtol=1e-6)
    assert clips["progress"].valid.tolist() == [True, True, True, True, False]
    assert float(summarise(clips)["progress"]) == pytest.approx(1.75 / 4)


def test_a_column_never_driven_is_not_valid():
    events, valid = planted(clips=2)
    clips = per_clip(trace(2), events, valid.at[:, 1].set(False))
    assert all(not measure.valid[1] for measure in clips.values())


def test_paired_difference_covers_the_truth_and_pairs():
    shared = jax.random.normal(jax.random.key(0), (256,)) * 10
    noise = 0.1 * jax.random.normal(jax.random.key(1), (256,))
    every = jnp.ones(256, bool)
    first, second = Measure(shared + 0.5 + noise, every), Measure(shared, every)
    interval = paired_difference(first, second, jax.random.key(2))
    standard_error = 0.1 / np.sqrt(256)
    assert interval.low < 0.5 < interval.high
    assert float(interval.high - interval.low) == pytest.approx(2 * 1.96 * standard_error, rel=0.2)
    assert float(interval.mean) == pytest.approx(0.5 + float(noise.mean()), abs=1e-4)


def test_paired_difference_leaves_out_unpaired_clips():
    first = Measure(jnp.asarray([1.0, 9.0, 3.0]), jnp.asarray([True, False, True]))
    second = Measure(jnp.asarray([0.0, 0.0, 0.0]), jnp.asarray([True, True, True]))
    assert float(paired_difference(first, second, jax.random.key(0)).mean) == 2.0
    with pytest.raises(ValueError, match="the first has 3, the second 1"):
        paired_difference(first, Measure(jnp.zeros(1), jnp.ones(1, bool)), jax.random.key(0))

"""Imitation on a tiny synthetic set, its loss against closed forms, and augmentation against geometry."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.agents import (
    AugmentConfig,
    CheckpointError,
    DemonstrationError,
    ImitationConfig,
    ImitationParams,
    NonFiniteError,
    Policy,
    PolicyConfig,
    imitate,
)
from jaxrecon.agents.augment import augment, draw_look, mirror_action, mirror_observation, relight, remount, sharpen
from jaxrecon.agents.imitation_loss import class_weights, controls_of, imitation_loss, soft_labels
from jaxrecon.agents.outputs import PolicyOutput
from jaxrecon.dynamics import anchors
from jaxrecon.simulator import Demonstrations, Observation

FAST = ImitationParams(learning_rate=3e-3)


def observations(rng, rows: int) -> Observation:
    command = np.eye(4)[rng.integers(0, 4, rows)]
    return Observation(
        frames=jnp.asarray(rng.integers(0, 256, (rows, 1, 8, 8, 3)), jnp.uint8),
        ego=jnp.asarray(np.c_[rng.uniform(3, 12, rows), rng.normal(size=(rows, 3)) * 0.1], jnp.float32),
        navigation=jnp.asarray(np.c_[command, rng.uniform(20, 30, rows), rng.normal(size=rows)], jnp.float32),
    )


def synthetic(rows: int = 60) -> Demonstrations:
    """The brighter the left half, the further left; the speed alone says how far ahead."""
    rng = np.random.default_rng(0)
    seen = observations(rng, rows)
    left = rng.uniform(-1, 1, rows)
    frames = np.full((rows, 1, 8, 8, 3), 128.0)
    frames[:, :, :, :4] += 100 * left[:, None, None, None, None]
    frames[:, :, :, 4:] -= 100 * left[:, None, None, None, None]
    lateral, longitudinal = jax.jit(anchors.nearest)(0.6 * jnp.asarray(left), 0.5 * seen.ego[:, 0], seen.ego[:, 0])
    return Demonstrations(
        observation=dataclasses.replace(seen, frames=jnp.asarray(frames.round(), jnp.uint8)),
        lateral=lateral,
        longitudinal=longitudinal,
        valid=jnp.ones(rows, bool),
    )


def test_learns_a_small_set_from_pixels_and_speed_and_generalises(imitation_config):
    fit = lambda: imitate.fit(synthetic(), imitation_config, jax.random.key(0), params=FAST, progress=False)  # noqa: E731
    policy, history = fit()
    assert history["loss"].shape == (240,) and history["loss"][-5:].mean() < history["loss"][0] - 3
    shown = synthetic()
    output = jax.jit(Policy.__call__)(policy, shown.observation)
    off = np.abs(np.asarray(output.mode()) - np.stack([shown.lateral, shown.longitudinal], 1))
    train, held_out = imitate.split_rows(60, imitation_config)
    assert (off[train] <= 2).mean(0).min() > 0.9
    # Anchors 2.5 and 25 cm apart: chance would be within four of them in one row of seven.
    assert (off[held_out] <= 4).mean(0).min() > 0.7
    jax.tree.map(np.testing.assert_array_equal, policy.parameters, fit()[0].parameters)


def test_rows_that_are_not_valid_are_not_used(imitation_config):
    shown = synthetic(70)
    bad = jnp.arange(70) >= 60
    poisoned = dataclasses.replace(
        shown,
        valid=~bad,
        observation=dataclasses.replace(shown.observation, ego=jnp.where(bad[:, None], jnp.nan, shown.observation.ego)),
    )
    _, history = imitate.fit(poisoned, imitation_config, jax.random.key(0), progress=False)
    assert np.isfinite(history["loss"]).all()


def test_empty_and_broken_sets_are_named(imitation_config):
    none = dataclasses.replace(synthetic(8), valid=jnp.zeros(8, bool))
    with pytest.raises(ValueError, match="8 rows and none is valid"):
        imitate.fit(none, imitation_config, jax.random.key(0), progress=False)
    with pytest.raises(DemonstrationError, match="0 rows and none is valid"):
        imitate.fit(jax.tree.map(lambda x: x[:0], none), imitation_config, jax.random.key(0), progress=False)
    shown = synthetic()
    ego = shown.observation.ego.at[7, 2].set(jnp.nan)
    nan = dataclasses.replace(shown, observation=dataclasses.replace(shown.observation, ego=ego))
    with pytest.raises(ValueError, match=r"observation.ego of row 7 is \[.*nan"):
        imitate.fit(nan, imitation_config, jax.random.key(0), progress=False)
    with pytest.raises(NonFiniteError, match="imitation loss was nan in all epochs from 0 on"):
        imitate.fit(
            shown,
            imitation_config,
            jax.random.key(0),
            params=ImitationParams(learning_rate=jnp.float32(1e38)),
            progress=False,
        )


def test_continuous_heads_learn_the_controls_that_lead_to_the_anchors(imitation_config):
    config = dataclasses.replace(imitation_config.policy, action="continuous", normalise_state=True)
    schedule = dataclasses.replace(imitation_config, policy=config)
    policy, curves = imitate.fit(synthetic(), schedule, jax.random.key(0), params=FAST, progress=False)
    shown = synthetic()
    action = jnp.stack([shown.lateral, shown.longitudinal], axis=-1)
    wanted = np.asarray(jax.jit(controls_of)(action, shown.observation.ego))
    driven = np.asarray(jax.jit(Policy.__call__)(policy, shown.observation).mode())
    train, _ = imitate.split_rows(60, imitation_config)
    off = np.abs(driven - wanted)[train, 1]
    # Chance would be off by about a standard deviation.
    assert wanted[:, 1].std() > 0.05 and off.mean() < 0.2 * wanted[train, 1].std()
    assert curves["loss"][-5:].mean() < curves["loss"][0] - 1 and "lateral_within_one" not in curves
    # Moments are those of what was shown.
    seen = np.asarray(shown.observation.ego)[train].mean(0)
    np.testing.assert_allclose(policy.parameters["state_moments"]["mean"][:4], seen, atol=1e-4)


def test_controls_lead_to_the_anchors_point():
    action, ego = jnp.array([[30, 20], [50, 20]]), jnp.tile(jnp.array([10.0, 0, 0, 0]), (2, 1))
    straight, left = np.asarray(controls_of(action, ego))
    # Five metres in half a second is holding the speed.
    np.testing.assert_allclose(straight, [0.0, 0.0], atol=1e-5)
    x, y = 5.0, float(anchors.LATERAL[50])
    np.testing.assert_allclose(left[1], np.arctan(2.765 * 2 * y / (x * x + y * y)), rtol=1e-5)


def test_driving_selects_and_an_interrupted_run_goes_on(imitation_config, tmp_path):
    config = dataclasses.replace(imitation_config, epochs=9, epochs_per_call=3, select="driving", save_every=1)
    costs, kept = [0.5, 0.2, 0.4], []

    def validate(policy):
        kept.append(jax.tree.map(np.array, policy.parameters))
        if len(kept) == 3 and interrupting:
            raise KeyboardInterrupt
        return costs[len(kept) - 1]

    def fit(**arguments):
        return imitate.fit(synthetic(), config, jax.random.key(0), validate=validate, progress=False, **arguments)

    interrupting = False
    whole, curves = fit()
    jax.tree.map(np.testing.assert_array_equal, whole.parameters, kept[1])
    np.testing.assert_allclose(curves["driving_cost"], np.repeat(costs, 3))
    interrupting, kept = True, []
    with pytest.raises(KeyboardInterrupt):
        fit(folder=tmp_path)
    interrupting, kept = False, kept[:2]
    resumed, again = fit(folder=tmp_path)
    jax.tree.map(np.testing.assert_array_equal, whole.parameters, resumed.parameters)
    assert curves.keys() == again.keys()
    jax.tree.map(np.testing.assert_array_equal, curves, again)
    with pytest.raises(CheckpointError, match=r"identity\.scene: None stored, other expected"):
        fit(folder=tmp_path, identity={"scene": "other"})
    with pytest.raises(NonFiniteError, match="cost of driving is nan"):
        imitate.fit(synthetic(), config, jax.random.key(0), validate=lambda _: float("nan"), progress=False)
    with pytest.raises(ValueError, match="select is 'driving' and fit got no validate"):
        imitate.fit(synthetic(), config, jax.random.key(0), progress=False)


def test_held_out_rows_are_whole_blocks():
    train, held_out = imitate.split_rows(100, ImitationConfig(held_out_every=5, held_out_block=10))
    assert held_out.tolist() == [*range(40, 50), *range(90, 100)]
    assert sorted([*train, *held_out]) == list(range(100))
    assert imitate.split_rows(30, ImitationConfig(held_out_every=5, held_out_block=10))[1].size == 0


def test_narrow_labels_without_focus_are_plain_cross_entropy():
    rng = np.random.default_rng(1)
    logits = [jnp.asarray(rng.normal(size=(6, 5)), jnp.float32) for _ in range(2)]
    output = PolicyOutput(*logits, values=None)
    action = jnp.asarray(rng.integers(0, 5, (6, 2)))
    valid = jnp.array([True] * 5 + [False])
    loss = imitation_loss(output, action, valid, ImitationParams(label_width=0.1, focal=0.0))
    expected = 0.0
    for head, x in enumerate(np.asarray(x, np.float64) for x in logits):
        log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
        expected -= np.mean([log_p[i, action[i, head]] for i in range(5)])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_labels_spread_over_feasible_anchors_only():
    logits = jnp.array([0.0, 0.0, 0.0, -1e9, -1e9])
    np.testing.assert_allclose(soft_labels(logits, jnp.array(1), 0.1), [0, 1, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(soft_labels(logits, jnp.array(4), 0.1), [0, 0, 1, 0, 0], atol=1e-6)
    spread = np.exp(-0.5 * np.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(soft_labels(logits, jnp.array(1), 1.0)[:3], spread / spread.sum(), rtol=1e-5)


def test_class_weights_balance_and_average_to_one():
    label = jnp.array([0, 0, 0, 1, 2])
    valid = jnp.array([True, True, True, True, False])
    np.testing.assert_allclose(class_weights(label, valid, 4, 0.0), [1, 1, 0, 0], rtol=1e-6)
    almost = class_weights(label, valid, 4, 0.9999)
    np.testing.assert_allclose(3 * almost[0], almost[1], rtol=1e-2)
    np.testing.assert_allclose((3 * almost[0] + almost[1]) / 4, 1.0, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_mirroring_twice_is_nothing_and_once_swaps_left_and_right(seed):
    rng = np.random.default_rng(seed)
    seen, action = observations(rng, 3), jnp.asarray(rng.integers(0, 61, (3, 2)))
    once, turned = mirror_observation(seen, (0,)), mirror_action(action)
    again = mirror_observation(once, (0,)), mirror_action(turned)
    jax.tree.map(np.testing.assert_array_equal, again, (seen, action))
    np.testing.assert_array_equal(once.frames[:, 0, :, 0], seen.frames[:, 0, :, -1])
    np.testing.assert_allclose(anchors.LATERAL[turned[:, 0]], -anchors.LATERAL[action[:, 0]], atol=1e-6)
    np.testing.assert_array_equal(turned[:, 1], action[:, 1])
    np.testing.assert_array_equal(once.navigation[:, 1], seen.navigation[:, 2])
    np.testing.assert_array_equal(once.navigation[:, 5], -seen.navigation[:, 5])
    np.testing.assert_array_equal(once.ego[:, 2:], -seen.ego[:, 2:])


def test_histories_are_mirrored_and_lit_as_one():
    rng = np.random.default_rng(3)
    seen = observations(rng, 4)
    stacked = dataclasses.replace(seen, frames=jnp.asarray(rng.integers(0, 256, (4, 3, 2, 8, 8, 3)), jnp.uint8))
    once = mirror_observation(stacked, (1, 0))
    np.testing.assert_array_equal(once.frames[:, 1, 0, :, 0], stacked.frames[:, 1, 1, :, -1])
    flat = jnp.full((4, 3, 2, 4, 4, 3), 100, jnp.uint8)
    lit = np.asarray(relight(flat, draw_look(jax.random.key(0), 4, AugmentConfig()))).reshape(4, -1)
    assert all(np.ptp(row) == 0 for row in lit) and len(set(lit[:, 0].tolist())) > 1


def test_light_changes_rows_apart_and_none_when_off():
    frames = jnp.full((4, 2, 4, 4, 3), 100, jnp.uint8)
    same = relight(frames, draw_look(jax.random.key(0), 4, AugmentConfig(brightness=0.0, contrast=0.0)))
    np.testing.assert_array_equal(frames, same)
    changed = np.asarray(relight(frames, draw_look(jax.random.key(0), 4, AugmentConfig(brightness=0.1)))).astype(int)
    assert len({int(row.flat[0]) for row in changed}) > 1 and np.abs(changed - 100).max() <= 26
    assert all(np.ptp(row) == 0 for row in changed)


def test_colours_change_by_channel_and_a_turned_mount_moves_all_frames_of_a_row_alike():
    rng = np.random.default_rng(2)
    frames = jnp.asarray(rng.integers(60, 160, (6, 2, 1, 8, 10, 3)), jnp.uint8)
    config = AugmentConfig(brightness=0.0, contrast=0.0, colour=0.3, mount=2)
    look = draw_look(jax.random.key(1), 6, config)
    coloured = np.asarray(relight(frames, look)).astype(float)
    ratio = coloured.sum((1, 2, 3, 4)) / np.asarray(frames).astype(float).sum((1, 2, 3, 4))
    np.testing.assert_allclose(ratio, look.gain, atol=0.01)
    assert np.ptp(ratio, axis=1).max() > 0.05
    moved = np.asarray(remount(frames, look))
    assert len({tuple(one) for one in np.asarray(look.offset).tolist()}) > 2
    for row, (down, right) in enumerate(np.asarray(look.offset)):
        for i, j in ((3, 4), (0, 0), (7, 9)):
            source = np.clip(i - down, 0, 7), np.clip(j - right, 0, 9)
            np.testing.assert_array_equal(moved[row, :, :, i, j], frames[row][:, :, source[0], source[1]])


def test_sharpness_multiplies_what_a_blur_takes_away():
    frames = np.random.default_rng(3).integers(110, 140, (3, 2, 1, 6, 7, 3)).astype(np.uint8)
    look = draw_look(jax.random.key(1), 3, AugmentConfig(sharpness=2.0))
    assert np.all(look.detail >= 1) and np.all(look.detail <= 3) and np.ptp(look.detail) > 0.1
    wide = np.pad(frames.astype(float), [(0, 0)] * 3 + [(1, 1), (1, 1), (0, 0)], mode="edge")
    rows = (wide[..., :-2, :, :] + 2 * wide[..., 1:-1, :, :] + wide[..., 2:, :, :]) / 4
    smooth = (rows[..., :-2, :] + 2 * rows[..., 1:-1, :] + rows[..., 2:, :]) / 4
    expected = smooth + np.asarray(look.detail).reshape(3, 1, 1, 1, 1, 1) * (frames - smooth)
    np.testing.assert_allclose(np.asarray(sharpen(jnp.asarray(frames), look)), expected, atol=0.51)
    as_they_are = look.replace(detail=jnp.ones(3))
    np.testing.assert_array_equal(sharpen(jnp.asarray(frames), as_they_are), frames)
    seen = observations(np.random.default_rng(0), 4)
    config = AugmentConfig(brightness=0.0, contrast=0.0, sharpness=2.0)
    changed, _ = augment(seen, jnp.zeros((4, 2), jnp.int32), jax.random.key(0), config)
    look = draw_look(jax.random.key(0), 4, config)
    np.testing.assert_array_equal(changed.frames, sharpen(seen.frames, look))
    assert (changed.frames != seen.frames).any()


def test_augmentation_mirrors_labels_with_their_rows():
    seen = observations(np.random.default_rng(0), 32)
    action = jnp.tile(jnp.array([[10, 20]]), (32, 1))
    config = AugmentConfig(brightness=0.0, contrast=0.0, mirror_cameras=(0,))
    changed, labels = augment(seen, action, jax.random.key(0), config)
    flipped = np.asarray(labels[:, 0] == 50)
    assert 0 < flipped.sum() < 32 and set(np.asarray(labels[:, 0])) == {10, 50}
    np.testing.assert_array_equal(changed.navigation[:, 5] == -seen.navigation[:, 5], flipped)
    np.testing.assert_array_equal((changed.frames == seen.frames).all((1, 2, 3, 4)), ~flipped)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AugmentConfig(mirror_cameras=(1, 2, 0)), "mirror_cameras is"),
        (lambda: AugmentConfig(contrast=1.5), "contrast is 1.5"),
        (lambda: AugmentConfig(mount=-1), "mount is -1"),
        (lambda: AugmentConfig(sharpness=-0.5), "sharpness is -0.5"),
        (lambda: AugmentConfig(sharpness=float("nan")), "sharpness is nan"),
        (lambda: ImitationConfig(select="worst"), "select is 'worst'"),
        (lambda: ImitationConfig(held_out_every=1), "held_out_every is 1"),
        (lambda: PolicyConfig(width=50), "width is 50, expected a multiple of the encoder's patch = 4"),
        (lambda: PolicyConfig(compute="float16"), "compute is 'float16'"),
        (lambda: PolicyConfig(trunk=()), "trunk is"),
    ],
)
def test_bad_configuration_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()

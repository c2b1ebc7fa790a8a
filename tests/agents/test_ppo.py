"""PPO's loss by head, exact resume, and the errors of a run."""

import dataclasses
import shutil

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.agents import CheckpointError, InvalidBatchError, NonFiniteError, PPOConfig, PPOParams, ppo
from jaxrecon.agents.auxiliary import auxiliary_loss
from jaxrecon.agents.outputs import PolicyOutput
from jaxrecon.agents.ppo_loss import Samples, head_advantages, ppo_loss, reward_advantages


class Interrupted(Exception):
    pass


def random_samples(seed: int, rows: int = 16) -> tuple[PolicyOutput, Samples]:
    rng = np.random.default_rng(seed)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    output = PolicyOutput(normal(rows, 5), normal(rows, 7), normal(rows, 4))
    action = jnp.asarray(np.stack([rng.integers(0, 5, rows), rng.integers(0, 7, rows)], 1))
    samples = Samples(
        action=action,
        log_prob=output.log_prob(action) + 0.1 * normal(rows, 2),
        advantage=normal(rows, 2),
        returns=normal(rows, 4),
        valid=jnp.asarray(rng.random(rows) < 0.7).at[0].set(True),
    )
    return output, samples


compiled_loss = jax.jit(ppo_loss)
gradient = jax.jit(jax.grad(lambda output, samples, params: ppo_loss(output, samples, params, 1.0)[0]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_loss_equals_the_formula_row_by_row(seed):
    output, samples = random_samples(seed)
    params = PPOParams(entropy_weight=0.03, value_weight=0.7)
    loss, figures = compiled_loss(output, samples, params, 1.0)
    total, error, entropy, valid = 0.0, 0.0, 0.0, np.flatnonzero(samples.valid)
    for i in valid:
        for head, clip in ((0, 0.1), (1, 0.2)):
            logits = np.asarray(output.logits[head][i], np.float64)
            p = np.exp(logits) / np.exp(logits).sum()
            ratio = p[samples.action[i, head]] / np.exp(float(samples.log_prob[i, head]))
            advantage = float(samples.advantage[i, head])
            total -= min(ratio * advantage, np.clip(ratio, 1 - clip, 1 + clip) * advantage)
            entropy -= (p * np.log(p)).sum()
        error += 0.5 * np.mean((np.asarray(output.values[i]) - np.asarray(samples.returns[i])) ** 2)
    expected = (total - 0.03 * entropy + 0.7 * error) / len(valid)
    np.testing.assert_allclose(loss, expected, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(figures["value_loss"], error / len(valid), rtol=1e-4)


@pytest.mark.parametrize("head", [0, 1])
def test_the_logits_of_a_head_get_gradients_from_its_own_advantage_only(head):
    output, samples = random_samples(1)
    params = PPOParams(entropy_weight=0.0)
    alone = dataclasses.replace(samples, advantage=samples.advantage.at[:, head].set(0.0))
    assert (gradient(output, alone, params).logits[head] == 0).all()
    other = dataclasses.replace(samples, advantage=samples.advantage.at[:, 1 - head].multiply(-3.0))
    before, after = (gradient(output, s, params).logits[head] for s in (samples, other))
    assert (before != 0).any()
    np.testing.assert_array_equal(before, after)


def test_advantage_of_a_head_sums_its_own_rewards():
    advantages = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5, 4)), jnp.float32)
    valid = jnp.ones((6, 5), bool)
    heads = head_advantages(advantages, valid, ((1, 2, 3), (0,)), 1e-3)
    own = np.stack([np.asarray(advantages[..., 1:]).sum(-1), np.asarray(advantages[..., 0])], -1)
    expected = (own - own.mean((0, 1))) / own.std((0, 1))
    np.testing.assert_allclose(heads, expected, atol=1e-5)


def test_auxiliary_losses_and_the_critics_unit_enter_as_they_should():
    output, samples = random_samples(4)
    rng = np.random.default_rng(5)
    sides = jnp.asarray(rng.integers(-1, 2, (16, 4)), jnp.float32)
    aside = dataclasses.replace(samples, sides=sides, reward_advantage=jnp.asarray(rng.normal(size=(16, 4))))
    heads = ((1, 2, 3), (0,))
    plain, _ = compiled_loss(output, samples, PPOParams(), 1.0)
    loss, figures = ppo_loss(output, aside, PPOParams(auxiliary_weight=0.3), 1.0, heads)
    np.testing.assert_allclose(loss, plain + 0.3 * figures["auxiliary_loss"], rtol=1e-5)
    below = output.below(samples.action)
    expected = auxiliary_loss(below, aside.reward_advantage, sides, samples.valid, heads)
    np.testing.assert_allclose(figures["auxiliary_loss"], expected, rtol=1e-5)
    _, halved = ppo_loss(output, samples, PPOParams(), 1.0, heads, jnp.full(4, 2.0))
    np.testing.assert_allclose(halved["value_loss"], ppo_loss(output, samples, PPOParams(), 1.0)[1]["value_loss"] / 4)


def test_advantage_of_a_reward_has_the_unit_of_its_head_and_its_own_sign():
    advantages = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5, 4)), jnp.float32)
    valid = jnp.ones((6, 5), bool).at[0].set(False)
    scaled = np.asarray(reward_advantages(advantages, valid, ((1, 2), (0,)), 1e-3))
    own = np.asarray(advantages[1:, :, 1] + advantages[1:, :, 2])
    np.testing.assert_allclose(scaled[1:, :, 1], np.asarray(advantages[1:, :, 1]) / own.std(), rtol=1e-5)
    assert not scaled[0].any() and not scaled[..., 3].any()


def test_rows_that_do_not_count_have_no_gradient_even_with_impossible_actions():
    output, samples = random_samples(2)
    invalid = np.flatnonzero(~samples.valid)
    output = dataclasses.replace(
        output, lateral_logits=output.lateral_logits.at[invalid, samples.action[invalid, 0]].set(-1e9)
    )
    slope = gradient(output, samples, PPOParams(entropy_weight=0.0))
    for leaf in jax.tree.leaves(slope):
        assert jnp.isfinite(leaf).all() and (leaf[invalid] == 0).all()


@pytest.fixture
def trained(table_config):
    return lambda table, policy, changes=None, **arguments: ppo.fit(
        table, policy, dataclasses.replace(table_config, **(changes or {})), jax.random.key(4), progress=False,
        **arguments,
    )  # fmt: skip


@pytest.fixture
def problem(make_table):
    return make_table((lambda place, a, b: b == place, lambda place, a, b: a == 2), start=(0.3, 0.3, 0.4))


def equal(first, second) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def test_an_interrupted_run_goes_on_bit_for_bit(trained, problem, table_policy, tmp_path):
    whole, history = trained(problem, table_policy)
    again, _ = trained(problem, table_policy)
    assert equal(whole.parameters, again.parameters)

    def stop(number, figures):
        if number == 12:
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(problem, table_policy, folder=tmp_path, callback=stop)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step_00000005", "step_00000010"]
    updates = []
    resumed, joined = trained(problem, table_policy, folder=tmp_path, callback=lambda number, _: updates.append(number))
    assert updates == list(range(10, 60))
    assert equal(whole.parameters, resumed.parameters)
    for name in history.keys() - {"steps_per_second"}:
        np.testing.assert_array_equal(history[name], joined[name], err_msg=name)
    finished, _ = trained(problem, table_policy, folder=tmp_path, callback=stop)
    assert equal(whole.parameters, finished.parameters)


def test_the_policy_that_drove_best_is_kept_and_a_resumed_run_keeps_the_same(trained, problem, table_policy, tmp_path):
    seen, costs = [], iter([0.7, 0.2, 0.5])
    config = {"validate_every": 25}

    def validate(policy):
        seen.append(jax.tree.map(np.array, policy.parameters))
        return next(costs)

    best, curves = trained(problem, table_policy, validate=validate, changes=config)
    asked = np.isfinite(curves["driving_cost"])
    assert np.flatnonzero(asked).tolist() == [24, 49, 59]
    np.testing.assert_allclose(curves["driving_cost"][asked], [0.7, 0.2, 0.5], rtol=1e-6)
    assert equal(best.parameters, seen[1]) and not equal(best.parameters, seen[2])

    def stop(number, figures):
        if number == 52:
            raise Interrupted

    costs = iter([0.7, 0.2, 0.9])
    with pytest.raises(Interrupted):
        trained(problem, table_policy, validate=validate, changes=config, folder=tmp_path, callback=stop)
    resumed, _ = trained(problem, table_policy, validate=validate, changes=config, folder=tmp_path)
    assert equal(resumed.parameters, best.parameters)
    with pytest.raises(NonFiniteError, match="cost of driving is nan"):
        trained(problem, table_policy, validate=lambda policy: np.nan, changes=config)


def test_a_damaged_checkpoint_is_passed_over_and_the_run_is_the_same(trained, problem, table_policy, tmp_path):
    whole, _ = trained(problem, table_policy, folder=tmp_path)
    newest = tmp_path / "step_00000060"
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.warns(UserWarning, match=r"older step.*step_00000060.*sha256"):
        resumed, history = trained(problem, table_policy, folder=tmp_path)
    assert equal(whole.parameters, resumed.parameters) and len(history["reward"]) == 60
    for step in tmp_path.iterdir():
        shutil.rmtree(step / "arrays")
    with pytest.raises(CheckpointError, match="none of its 2 checkpoints is whole"), pytest.warns(UserWarning):
        trained(problem, table_policy, folder=tmp_path)


def test_checkpoints_of_another_run_are_refused(trained, problem, table_policy, tmp_path):
    trained(problem, table_policy, folder=tmp_path, identity={"scene": "abc"})
    with pytest.raises(CheckpointError, match=r"identity.scene: abc stored, None expected"):
        trained(problem, table_policy, folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"params.discount: 0.9 stored, 0.8 expected"):
        trained(problem, table_policy, folder=tmp_path, identity={"scene": "abc"}, params=PPOParams(discount=0.8))


def test_an_update_without_a_single_valid_step_stops_with_a_report(trained, problem, table_policy):
    class Asleep(type(problem)):
        def step(self, state, action, params):
            state, result = super().step(state, action, params)
            return state, result.replace(valid=jnp.zeros_like(result.valid))

    asleep = jax.tree_util.tree_map(lambda x: x, problem)
    asleep = flax.struct.dataclass(Asleep)(**vars(asleep))
    with pytest.raises(InvalidBatchError, match="update 0: none of its 256 steps belongs to an episode"):
        trained(asleep, table_policy)


def test_heads_that_learn_from_rewards_that_are_not_there_are_named(problem, table_policy, table_config):
    config = dataclasses.replace(table_config, lateral_rewards=(2,))
    with pytest.raises(ValueError, match=r"environment has 2 rewards, the policy 2 values.*\(\(2,\), \(0,\)\)"):
        ppo.fit(problem, table_policy, config, jax.random.key(0), progress=False)


def test_what_is_frozen_does_not_move(problem, table_policy, table_config):
    config = dataclasses.replace(table_config, updates=2, frozen=("hidden", "lateral"))
    policy, _ = ppo.fit(problem, table_policy, config, jax.random.key(0), progress=False)
    for name in ("hidden", "lateral", "longitudinal", "critic"):
        assert equal(policy.parameters[name], table_policy.parameters[name]) == (name in config.frozen), name


def test_training_leaves_the_given_policy_alone(trained, problem, table_policy):
    before = jax.tree.map(np.array, table_policy.parameters)
    trained(problem, table_policy)
    assert equal(before, table_policy.parameters)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minibatches": 3}, r"minibatches is 3, expected a divisor of environments \* steps = 1024"),
        ({"updates": 0}, "updates is 0, expected at least 1"),
        ({"imitation_share": 1.0}, "imitation_share is 1.0, expected 0 <= share < 1"),
        ({"lateral_rewards": ()}, "lateral_rewards is empty"),
        ({"critic_updates": -1}, "critic_updates is -1"),
        ({"validate_every": 0}, "validate_every is 0"),
    ],
)
def test_bad_configuration_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        PPOConfig(**fields)

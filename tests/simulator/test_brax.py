"""The simulator behind brax's interface: its wrappers, networks and unrolls run on it and see what it sees."""

import builtins
import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.wrappers import training as brax_training
from brax.training.acting import generate_unroll
from brax.training.agents.ppo import losses, networks, networks_vision

from jaxrecon.simulator import ALL_TERMS, Simulator, SimulatorConfig, default_params, join_worlds, reward_weights
from jaxrecon.simulator.adapters import brax_env
from jaxrecon.simulator.adapters.brax_env import AutoReset, BraxEnv, wrap
from jaxrecon.simulator.adapters.figures import figure_names, scalar_reward, state_vector

CONFIG = SimulatorConfig(action="continuous", clip_seconds=0.5, terms=ALL_TERMS)
PARAMS = default_params(reward_weights({"progress": 0.5}, ALL_TERMS))
KEYS = jax.random.split(jax.random.PRNGKey(3), 4)  # brax's wrappers know no others
STEPS, EPISODE = 14, 4  # brax ends clips a step before they would


@pytest.fixture(scope="module")
def driving(build) -> Simulator:
    """Two scenes alike, clips of five steps."""
    world = build().world
    return Simulator(join_worlds([world, world], world.source), CONFIG)


@pytest.fixture(scope="module")
def unrolled(driving):
    """Brax's network acts at random in the wrapped environment: (last state, transitions)."""
    env = wrap(BraxEnv(driving, PARAMS, "both"), episode_length=EPISODE)
    ppo = networks_vision.make_ppo_networks_vision(
        env.observation_size, env.action_size, policy_hidden_layer_sizes=(8,), value_hidden_layer_sizes=(8,),
        cnn_output_channels=(4,), cnn_kernel_size=(3,), cnn_stride=(2,),
    )  # fmt: skip
    policy = networks.make_inference_fn(ppo)((None, ppo.policy_network.init(jax.random.PRNGKey(0))))

    @jax.jit
    def unroll(key):
        fields = ("truncation", "valid", "time_out", "steps", "episode_metrics", "episode_done")
        state, data = generate_unroll(env, env.reset(KEYS), policy, key, STEPS, fields)
        return state, data

    return unroll(jax.random.PRNGKey(1))


def test_brax_wrappers_see_what_the_simulator_does(driving):
    """Brax's own auto-reset, which replays the first start, and its evaluation accept it too."""
    env, limits = brax_training.wrap(BraxEnv(driving, PARAMS), episode_length=6), driving.config.limits
    env = brax_training.EvalWrapper(env)
    first, step = jax.jit(env.reset)(KEYS), jax.jit(env.step)
    # The same keys, of the new kind, in the plain interface.
    plain, observation = jax.jit(Simulator.reset_from, static_argnames="draw")(
        driving, jax.random.wrap_key_data(KEYS), PARAMS, draw=False
    )
    np.testing.assert_array_equal(first.obs, state_vector(observation))
    actions = jnp.asarray([[1.0, 0.0], [-1.0, 0.1], [0.5, -0.1], [jnp.inf, jnp.nan]])
    scaled = jnp.asarray([
        [limits.acceleration, 0.0], [-limits.braking, 0.1 * limits.steering],
        [0.5 * limits.acceleration, -0.1 * limits.steering], [limits.acceleration, 0.0],
    ])  # fmt: skip
    state = step(first, actions)
    _, result = jax.jit(Simulator.step, static_argnames=("draw", "auto_reset"))(
        driving, plain, scaled, PARAMS, draw=False, auto_reset=False
    )
    # One program is vmapped and the other is not: sums may be ordered differently.
    np.testing.assert_allclose(state.obs, state_vector(result.observation), atol=1e-5)
    np.testing.assert_allclose(state.reward, scalar_reward(result), atol=1e-5)
    np.testing.assert_allclose(state.metrics["reward_progress"], result.reward[:, 7], atol=1e-5)
    assert set(figure_names(driving)) < set(state.metrics) == set(first.metrics)
    assert state.pipeline_state.corrected_actions.tolist() == [0, 0, 0, 1]
    assert env.observation_size == state.obs.shape[-1] == 10 and env.action_size == 2 and env.backend == "jaxrecon"
    for _ in range(4):
        state = step(state, jnp.zeros((4, 2)))
    assert state.done.all() and (state.info["time_out"] == 1).all(), "the clips are shorter than brax's episodes"
    np.testing.assert_array_equal(state.obs, first.obs)
    np.testing.assert_array_equal(state.info["eval_metrics"].episode_steps, 5)


def test_brax_acts_on_frames_and_clips_restart_anew(unrolled):
    state, data = unrolled
    pixels = data.observation["pixels/front"]
    assert pixels.shape == (STEPS, 4, 3, 8, 3) and pixels.dtype == jnp.float32
    assert pixels.min() >= 0 and pixels.max() <= 1 and len(np.unique(pixels)) > 3
    extras = data.extras["state_extras"]
    started, ended = extras["valid"] == 0, data.discount == 0
    assert started.sum() > 4 and ended.sum() > 4
    # The step after a clip's last starts the next, pays nothing and ends nothing.
    np.testing.assert_array_equal(started[1:], ended[:-1])
    assert not np.any(data.reward[started]) and not np.any(ended[started])
    assert state.pipeline_state.episode.min() >= 1
    first = np.flatnonzero(started[:, 0])[:2]
    assert not np.allclose(data.next_observation["state"][first[0], 0], data.next_observation["state"][first[1], 0])
    # Steps count those of the clip, which brax may end before the simulator would.
    np.testing.assert_array_equal(extras["steps"][started], 0)
    assert extras["steps"].max() == EPISODE and not extras["time_out"].any()
    assert extras["truncation"][ended & (extras["steps"] == EPISODE)].any()
    assert np.isfinite(extras["episode_metrics"]["sum_reward"]).all()


def test_brax_losses_mask_the_steps_that_start_clips(unrolled):
    _, data = unrolled
    truncation = data.extras["state_extras"]["truncation"]
    termination = (1 - data.discount) * (1 - truncation)
    values = jax.random.normal(jax.random.key(0), (STEPS + 1, 4))
    targets, advantages = losses.compute_gae(truncation, termination, data.reward, values[:-1], values[-1])
    started = data.extras["state_extras"]["valid"] == 0
    assert not np.any(advantages[started])
    np.testing.assert_array_equal(targets[started], values[:-1][started])
    assert np.all(advantages[~started & (truncation == 0)] != 0)


def test_a_gradient_step_of_brax_ppo_learns_from_unrolled_clips(driving):
    env = wrap(BraxEnv(driving, PARAMS), episode_length=EPISODE)
    ppo = networks.make_ppo_networks(env.observation_size, env.action_size, policy_hidden_layer_sizes=(8,),
                                     value_hidden_layer_sizes=(8,))  # fmt: skip
    keys = jax.random.split(jax.random.PRNGKey(0))
    weights = losses.PPONetworkParams(ppo.policy_network.init(keys[0]), ppo.value_network.init(keys[1]))

    @jax.jit
    def learn(weights, key):
        act = networks.make_inference_fn(ppo)((None, weights.policy, weights.value))
        _, data = generate_unroll(env, env.reset(KEYS), act, key, STEPS, ("truncation", "episode_metrics"))
        data = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), data)
        loss = lambda weights: losses.compute_ppo_loss(weights, None, data, key, ppo)  # noqa: E731
        (before, _), slope = jax.value_and_grad(loss, has_aux=True)(weights)
        moved = jax.tree.map(lambda weight, part: weight - 1e-3 * part, weights, slope)
        return before, loss(moved)[0], slope

    before, after, slope = learn(weights, jax.random.PRNGKey(1))
    assert all(jnp.isfinite(leaf).all() and (leaf != 0).any() for leaf in jax.tree.leaves(slope))
    assert after < before


def test_bad_use_is_named(driving, build):
    with pytest.raises(ValueError, match=r"'anchors'; make the simulator with SimulatorConfig\(action='continuous'\)"):
        BraxEnv(build())
    with pytest.raises(ValueError, match="observation is 'sound'; expected one of"):
        BraxEnv(driving, PARAMS, "sound")
    with pytest.raises(ValueError, match=r"expected a BraxEnv\(\.\.\., auto_reset=True\), see wrap"):
        AutoReset(BraxEnv(driving, PARAMS))
    with pytest.raises(ValueError, match="action_repeat 2 and randomization_fn None; expected 1 and None"):
        wrap(BraxEnv(driving, PARAMS), action_repeat=2)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    imports = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "brax":
            raise ImportError("No module named 'brax'")
        return imports(name, *rest)

    for name in [name for name in sys.modules if name.partition(".")[0] == "brax"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib, "import_module", lambda name: without(name))
    with pytest.raises(ImportError, match=r"needs the package brax, .*run `pip install 'brax>=0\.14\.2'`"):
        brax_env.required("brax.envs.base", "brax", brax_env.REMEDY)

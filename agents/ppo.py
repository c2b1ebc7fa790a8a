"""PPO: rollout, rendering, advantages and all gradient steps of an update in one compiled call."""

import dataclasses
import functools
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

from jaxrecon.agents import optimise
from jaxrecon.agents.checkpoints import Figures, TrainingCheckpoints, describe
from jaxrecon.agents.environment import Environment
from jaxrecon.agents.imitation_loss import UNFOCUSED_IMITATION, ImitationParams, action_of, imitation_loss, usable
from jaxrecon.agents.networks import Policy
from jaxrecon.agents.ppo_config import DEFAULT_PPO, PPOConfig, PPOParams
from jaxrecon.agents.ppo_loss import Samples, ppo_loss, samples_of
from jaxrecon.agents.returns import masked_mean
from jaxrecon.agents.rollout import Experience, collect


@flax.struct.dataclass
class TrainingState:
    """All that the next update depends on; saved and restored whole.

    Attributes:
        policy: what is trained.
        optimiser: Adam's moments.
        environment: the environments' state.
        observation: that belongs to it.
        key: for all updates to come.
        update: how many are done.
        skips: gradient steps in a row that were not finite.
        skipped: of those, how many there were in all.
    """

    policy: Policy
    optimiser: Any
    environment: Any
    observation: Any
    key: Any
    update: Any
    skips: Any
    skipped: Any


def initial_state(
    environment: Environment,
    policy: Policy,
    config: PPOConfig,
    key: PRNGKeyArray,
    params: PPOParams = DEFAULT_PPO,
    environment_params: Any = None,
) -> TrainingState:
    """State before the first update, in buffers of its own: an update gives them away to its successor."""
    key_reset, key_updates = jax.random.split(key)
    reset = jax.jit(type(environment).reset, static_argnums=2)
    state, observation = reset(environment, key_reset, config.environments, environment_params)
    zero = jnp.zeros((), jnp.int32)
    training = TrainingState(
        policy=policy,
        optimiser=optimise.transformation(params.gradient_norm).init(policy.parameters),
        environment=state,
        observation=observation,
        key=key_updates,
        update=zero,
        skips=zero,
        skipped=zero,
    )
    return jax.tree.map(_own, training)


def _own(leaf: Any) -> jax.Array:
    """A buffer of its own, of the type that updates return: a weak one would compile the first update twice."""
    leaf = jnp.asarray(leaf)
    return jnp.copy(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.array(leaf, leaf.dtype, copy=True)


def _gradient_steps(
    training: TrainingState,
    samples: Samples,
    key: PRNGKeyArray,
    demonstrations: Any,
    config: PPOConfig,
    params: PPOParams,
    imitation_params: ImitationParams,
) -> tuple[TrainingState, dict[str, Float[Array, "step"]]]:
    """All epochs over an update's samples; the figures are those of each gradient step."""
    rows = samples.valid.shape[0]
    transform = optimise.transformation(params.gradient_norm)
    share = config.imitation_share if demonstrations is not None else 0.0
    policy_weight = jnp.where(training.update < config.critic_updates, 0.0, 1.0)
    passed = training.update / max(config.updates - 1, 1)
    rate = params.learning_rate + jnp.minimum(passed, 1.0) * (params.final_learning_rate - params.learning_rate)

    def loss_of(parameters, minibatch, shown):
        policy = dataclasses.replace(training.policy, parameters=parameters)
        loss, figures = ppo_loss(policy(minibatch.observation), minibatch, params, policy_weight)
        if shown is not None:
            cloning = imitation_loss(policy(shown.observation), action_of(shown), shown.valid, imitation_params)
            loss, figures = (1 - share) * loss + share * cloning, figures | {"imitation_loss": cloning}
        return loss, figures

    def step(carry, inputs):
        parameters, optimiser, skips, skipped = carry
        chosen, key = inputs
        minibatch, shown = jax.tree.map(lambda x: x[chosen], samples), None
        if share > 0:
            count = demonstrations.valid.shape[0]
            drawn = jax.random.randint(key, (config.demonstrations_per_minibatch,), 0, count)
            shown = jax.tree.map(lambda x: x[drawn], demonstrations)
        (loss, figures), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters, minibatch, shown)
        parameters, optimiser, norm, finite = optimise.guarded_step(
            transform, parameters, optimiser, gradients, loss, rate
        )
        carry = (parameters, optimiser, jnp.where(finite, 0, skips + 1), skipped + ~finite)
        return carry, figures | {"loss": loss, "gradient_norm": norm}

    key_order, key_rows = jax.random.split(key)
    order = jnp.argsort(jax.random.bits(key_order, (config.epochs, rows)))  # a permutation for each epoch
    total = config.epochs * config.minibatches
    carry = (training.policy.parameters, training.optimiser, training.skips, training.skipped)
    inputs = (order.reshape(total, -1), jax.random.split(key_rows, total))
    (parameters, optimiser, skips, skipped), figures = jax.lax.scan(step, carry, inputs)
    policy = dataclasses.replace(training.policy, parameters=parameters)
    return dataclasses.replace(training, policy=policy, optimiser=optimiser, skips=skips, skipped=skipped), figures


def _figures_of(experience: Experience, advantages: Float[Array, "time env reward"]) -> dict[str, Array]:
    valid = experience.valid
    return {
        "reward": masked_mean(jnp.sum(experience.reward, axis=-1), valid),
        "event_rate": masked_mean(experience.terminated.astype(jnp.float32), valid),
        "truncation_rate": masked_mean(experience.truncated.astype(jnp.float32), valid),
        "valid_share": jnp.mean(valid),
        "overflow_share": jnp.mean(experience.overflow),
        "rewards": jax.vmap(masked_mean, (2, None))(experience.reward, valid),
        "values": jax.vmap(masked_mean, (2, None))(experience.values[:-1], valid),
        "advantage_deviation": jax.vmap(lambda x: jnp.sqrt(masked_mean(x * x, valid)), 2)(advantages),
    }


@functools.partial(jax.jit, static_argnames=("config",), donate_argnames=("training",))
def update(
    training: TrainingState,
    environment: Environment,
    demonstrations: Any,
    config: PPOConfig,
    params: PPOParams,
    imitation_params: ImitationParams,
    environment_params: Any,
) -> tuple[TrainingState, dict[str, Array]]:
    """One update: drive, estimate advantages, and take every gradient step, without leaving the device.

    Args:
        training: state before; its buffers are reused and must not be read again.
        environment: pytree with pure ``reset`` and ``step``.
        demonstrations: rows to imitate beside, all valid, or None.
        config: shape of the run.
        params: of PPO.
        imitation_params: of the imitation loss.
        environment_params: handed to the environment's ``step``.

    Returns:
        State after, and the figures of the update.
    """
    key, key_drive, key_learn = jax.random.split(training.key, 3)
    state, observation, experience = collect(
        training.policy,
        environment,
        training.environment,
        training.observation,
        key_drive,
        config.steps,
        environment_params,
    )
    samples, advantages = samples_of(experience, params, (config.lateral_rewards, config.longitudinal_rewards))
    training, figures = _gradient_steps(training, samples, key_learn, demonstrations, config, params, imitation_params)
    figures = {name: jnp.nanmean(figure) for name, figure in figures.items()} | _figures_of(experience, advantages)
    training = dataclasses.replace(
        training, environment=state, observation=observation, key=key, update=training.update + 1
    )
    return training, figures | {"skipped": training.skipped, "skips": training.skips}


def fit(
    environment: Environment,
    policy: Policy,
    config: PPOConfig,
    key: PRNGKeyArray,
    *,
    params: PPOParams = DEFAULT_PPO,
    environment_params: Any = None,
    demonstrations: Any = None,
    imitation_params: ImitationParams = UNFOCUSED_IMITATION,
    folder: str | pathlib.Path | None = None,
    identity: Mapping[str, str] | None = None,
    callback: Callable[[int, Figures], None] | None = None,
    progress: bool = True,
) -> tuple[Policy, dict[str, np.ndarray]]:
    """Improve a policy by driving.

    With a folder, the whole training state is saved there every ``config.save_every`` updates and at the end, and a
    call that finds one goes on from the newest whole one: exactly the run that was interrupted, on one CPU bit for bit.

    Args:
        environment: pytree with pure ``reset`` and ``step``.
        policy: where to start from.
        config: shape of the run.
        key: for everything random.
        params: of PPO.
        environment_params: handed to the environment's ``reset`` and ``step``.
        demonstrations: rows to imitate beside (``config.imitation_share``), or None.
        imitation_params: of that loss; its learning rate and weight decay have no effect here.
        folder: of the checkpoints; None saves nothing.
        identity: what else a resumed run must agree in, a scene's content hash, say.
        callback: called on the host after each update with its number, counted from 0, and its figures.
        progress: show a bar with reward, event rate and environment steps per second.

    Returns:
        The policy, and per update every figure of ``update`` and ``steps_per_second``.

    Raises:
        CheckpointError: when the folder holds the checkpoints of another run.
        NonFiniteError: when gradients stay NaN or infinite.
        ValueError: when demonstrations are given and none is valid.
    """
    training = initial_state(environment, policy, config, key, params, environment_params)
    demonstrations = usable(demonstrations) if demonstrations is not None and config.imitation_share > 0 else None
    checkpoints = None
    history: list[Figures] = []
    if folder is not None:
        run = describe(config=config, policy=policy.config, key=key, params=params, imitation_params=imitation_params)
        # A run may be lengthened, and saved more or less often, without being another one.
        run["config"] = {k: v for k, v in run["config"].items() if k not in ("updates", "save_every")}
        checkpoints = TrainingCheckpoints(folder, run | {"identity": dict(identity or {})})
        training, history = checkpoints.restore_latest(training)
    done = len(history)
    with tqdm(total=config.updates, initial=done, desc="ppo", unit="update", disable=not progress) as bar:
        for number in range(done, config.updates):
            start = time.perf_counter()
            training, figures = update(
                training, environment, demonstrations, config, params, imitation_params, environment_params
            )
            figures = jax.device_get(figures)
            speed = config.environments * config.steps / (time.perf_counter() - start)
            _raise_if_stuck(figures, number, config)
            history.append(figures | {"steps_per_second": np.float32(speed)})
            if checkpoints and ((number + 1) % config.save_every == 0 or number + 1 == config.updates):
                checkpoints.save(number + 1, training, history)
            bar.set_postfix(
                reward=f"{figures['reward']:.4f}", events=f"{figures['event_rate']:.2%}", steps_per_s=f"{speed:.0f}"
            )
            bar.update()
            if callback is not None:
                callback(number, history[-1])
    curves = {name: np.stack([row[name] for row in history]) for name in history[0]}
    if curves["overflow_share"].any():
        warnings.warn(
            f"{curves['overflow_share'].mean():.1%} of the training observations lacked content: raise the renderer's "
            "capacity",
            stacklevel=2,
        )
    return training.policy, curves


def _raise_if_stuck(figures: Figures, number: int, config: PPOConfig) -> None:
    if figures["skips"] >= config.stop_after_skips:
        report = {name: np.asarray(figure).round(4).tolist() for name, figure in figures.items()}
        raise optimise.NonFiniteError(
            f"update {number}: the last {figures['skips']} gradient steps were NaN or infinite and were skipped "
            f"({figures['skipped']} in all); parameters are those before them. Look at the environment's rewards and "
            f"observations, or lower PPOParams.learning_rate. Figures of the update: {report}"
        )

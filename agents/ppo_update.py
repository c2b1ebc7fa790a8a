"""One update of PPO: rollout, rendering, advantages and all gradient steps in one compiled call."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.agents import histories, optimise
from jaxrecon.agents.augment import augment
from jaxrecon.agents.environment import Environment
from jaxrecon.agents.imitation_loss import ImitationParams, imitation_loss
from jaxrecon.agents.normalisers import having_seen, value_unit
from jaxrecon.agents.ppo_config import DEFAULT_PPO, PPOConfig, PPOParams
from jaxrecon.agents.ppo_loss import Samples, ppo_loss, samples_of
from jaxrecon.agents.returns import masked_mean
from jaxrecon.agents.rollout import Experience, collect
from jaxrecon.agents.shown import Shown


@flax.struct.dataclass
class TrainingState:
    """All that the next update depends on; saved and restored whole.

    Attributes:
        policy: what is trained.
        optimiser: Adam's moments.
        environment: the environments' state.
        observation: that belongs to it.
        memory: what the policy remembers, that observation included; None where it sees the newest frame alone.
        key: for all updates to come.
        update: how many are done.
        skips: gradient steps in a row that were not finite.
        skipped: of those, how many there were in all.
    """

    policy: Any
    optimiser: Any
    environment: Any
    observation: Any
    memory: Any
    key: Any
    update: Any
    skips: Any
    skipped: Any


def initial_state(
    environment: Environment,
    policy: Any,
    config: PPOConfig,
    key: PRNGKeyArray,
    params: PPOParams = DEFAULT_PPO,
    environment_params: Any = None,
) -> TrainingState:
    """State before the first update, in buffers of its own: an update gives them away to its successor."""
    key_reset, key_updates = jax.random.split(key)
    reset = jax.jit(type(environment).reset, static_argnums=2)
    state, observation = reset(environment, key_reset, config.environments, environment_params)
    _, rest = histories.without_frames(observation)
    policy = having_seen(policy, rest, None, jnp.ones(config.environments, bool))
    zero = jnp.zeros((), jnp.int32)
    training = TrainingState(
        policy=policy,
        optimiser=_transformation(params).init(optimise.partition(policy, config.frozen).learned(policy)),
        environment=state,
        observation=observation,
        memory=histories.begin(policy, observation),
        key=key_updates,
        update=zero,
        skips=zero,
        skipped=zero,
    )
    return optimise.owned(training)


def _transformation(params: PPOParams) -> Any:
    return optimise.transformation(params.gradient_norm)


def drive(
    training: TrainingState, environment: Environment, key: PRNGKeyArray, config: PPOConfig, environment_params: Any
) -> tuple[tuple[Any, Any, Any], Experience]:
    """The rollout of an update: state, observation and memory to go on from, and the experience."""
    start = (training.environment, training.observation, training.memory)
    with jax.named_scope("rollout"):
        return collect(training.policy, environment, start, key, config.steps, environment_params, config.auxiliary)


@functools.partial(jax.jit, static_argnames=("config",), donate_argnames=("training",))
def update(
    training: TrainingState,
    environment: Environment,
    demonstrations: Shown | None,
    config: PPOConfig,
    params: PPOParams,
    imitation_params: ImitationParams,
    environment_params: Any,
) -> tuple[TrainingState, dict[str, Array]]:
    """One update: drive, estimate advantages, and take every gradient step, without leaving the device.

    The policy's moments take in what was driven at the end, so that rollout and gradient steps see the same policy.

    Args:
        training: state before; its buffers are reused and must not be read again.
        environment: pytree with pure ``reset`` and ``step``.
        demonstrations: rows to imitate beside, or None.
        config: shape of the run.
        params: of PPO.
        imitation_params: of the imitation loss.
        environment_params: handed to the environment's ``step``.

    Returns:
        State after, and the figures of the update.
    """
    key, key_drive, key_learn = jax.random.split(training.key, 3)
    (state, observation, memory), experience = drive(training, environment, key_drive, config, environment_params)
    samples, advantages = samples_of(experience, params, config)
    with jax.named_scope("learn"):
        training, figures = _gradient_steps(
            training, experience, samples, key_learn, demonstrations, config, params, imitation_params
        )
    figures = {name: jnp.nanmean(figure) for name, figure in figures.items()} | _figures_of(experience, advantages)
    figures |= _figures_told(environment, state)
    training = dataclasses.replace(
        training,
        policy=having_seen(training.policy, experience.rest, samples.returns, samples.valid),
        environment=state,
        observation=observation,
        memory=memory,
        key=key,
        update=training.update + 1,
    )
    return training, figures | {"skipped": training.skipped, "skips": training.skips}


def _gradient_steps(
    training: TrainingState,
    experience: Experience,
    samples: Samples,
    key: PRNGKeyArray,
    demonstrations: Shown | None,
    config: PPOConfig,
    params: PPOParams,
    imitation_params: ImitationParams,
) -> tuple[TrainingState, dict[str, Float[Array, " step"]]]:
    """All epochs over an update's samples; the figures are those of each gradient step."""
    transform, policy = _transformation(params), training.policy
    partition = optimise.partition(policy, config.frozen)
    share = config.imitation_share if demonstrations is not None else 0.0
    policy_weight = jnp.where(training.update < config.critic_updates, 0.0, 1.0)
    passed = training.update / max(config.updates - 1, 1)
    rate = params.learning_rate + jnp.minimum(passed, 1.0) * (params.final_learning_rate - params.learning_rate)
    unit = value_unit(policy)

    def loss_of(learned: Any, rows: Array, drawn: Array, key: Array) -> tuple[Array, dict[str, Array]]:
        current = partition.joined(policy, learned)
        time, env = rows // config.environments, rows % config.environments
        output = current(experience.observations(time, env))
        minibatch = jax.tree.map(lambda x: x[time, env], samples)
        loss, figures = ppo_loss(output, minibatch, params, policy_weight, config.rewards_of_heads, unit)
        if share > 0 and demonstrations is not None:
            seen, action = demonstrations.take(drawn)
            if config.augmentation is not None:
                seen, action = augment(seen, action, key, config.augmentation)
            everyone = jnp.ones(drawn.shape, bool)
            cloning = imitation_loss(current(seen), action, everyone, imitation_params, ego=_ego_of(seen))
            loss, figures = (1 - share) * loss + share * cloning, figures | {"imitation_loss": cloning}
        return loss, figures

    def step(carry: Any, inputs: Any) -> tuple[Any, dict[str, Array]]:
        learned, optimiser, skips, skipped = carry
        rows, key = inputs
        drawn, (key_drawn, key_augment) = jnp.zeros(0, jnp.int32), jax.random.split(key)
        if share > 0 and demonstrations is not None:
            drawn = jax.random.randint(key_drawn, (config.demonstrations_per_minibatch,), 0, demonstrations.count)
        (loss, figures), gradients = jax.value_and_grad(loss_of, has_aux=True)(learned, rows, drawn, key_augment)
        learned, optimiser, norm, finite = optimise.guarded_step(transform, learned, optimiser, gradients, loss, rate)
        carry = (learned, optimiser, jnp.where(finite, 0, skips + 1), skipped + ~finite)
        return carry, figures | {"loss": loss, "gradient_norm": norm}

    key_order, key_rows = jax.random.split(key)
    # A permutation for each epoch.
    order = jnp.argsort(jax.random.bits(key_order, (config.epochs, config.steps * config.environments)))
    total = config.epochs * config.minibatches
    carry = (partition.learned(policy), training.optimiser, training.skips, training.skipped)
    inputs = (order.reshape(total, -1), jax.random.split(key_rows, total))
    (learned, optimiser, skips, skipped), figures = jax.lax.scan(step, carry, inputs)
    policy = partition.joined(policy, learned)
    return dataclasses.replace(training, policy=policy, optimiser=optimiser, skips=skips, skipped=skipped), figures


def _ego_of(observation: Any) -> Any:
    return getattr(observation, "ego", None)


def _figures_told(environment: Environment, state: Any) -> dict[str, Array]:
    """What an environment says of itself, where it has a method ``figures``."""
    return environment.figures(state) if hasattr(environment, "figures") else {}


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

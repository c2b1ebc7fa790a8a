"""Imitation: clone the recorded driver into a policy's two heads by cross-entropy."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray
from tqdm import tqdm

from jaxrecon.agents import optimise
from jaxrecon.agents.augment import AugmentConfig, augment
from jaxrecon.agents.imitation_loss import (
    DEFAULT_IMITATION,
    ImitationParams,
    action_of,
    class_weights,
    imitation_loss,
    usable,
)
from jaxrecon.agents.networks import HEADS, Policy, PolicyConfig, PolicyOutput, create_policy


@dataclasses.dataclass(frozen=True)
class ImitationConfig:
    """How ``fit`` goes over the demonstrations.

    Attributes:
        policy: network to build where none is given.
        augmentation: changes to the training rows that keep their labels true.
        epochs: passes over the training rows.
        batch: rows of one gradient step, at most.
        held_out_every: of so many consecutive blocks of rows the last is held out for validation.
        held_out_block: rows a block; whole blocks are held out because neighbouring frames are nearly the same.
        select: "best" returns the parameters with the lowest validation loss, "last" the final ones.
        epochs_per_call: epochs in one compiled scan, between two updates of the progress bar.
    """

    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    augmentation: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    epochs: int = 200
    batch: int = 64
    held_out_every: int = 5
    held_out_block: int = 10
    select: str = "best"
    epochs_per_call: int = 10

    def __post_init__(self):
        for name in ("epochs", "batch", "held_out_block", "epochs_per_call"):
            if getattr(self, name) < 1:
                raise ValueError(f"ImitationConfig.{name} is {getattr(self, name)}, expected at least 1")
        if self.held_out_every < 2:
            raise ValueError(f"ImitationConfig.held_out_every is {self.held_out_every}, expected at least 2")
        if self.select not in ("best", "last"):
            raise ValueError(f"ImitationConfig.select is {self.select!r}, expected 'best' or 'last'")


@flax.struct.dataclass
class _Training:
    policy: Policy
    optimiser: Any
    epoch: Any
    skipped_in_row: Any
    best_parameters: Any
    best_loss: Any


def split_rows(rows: int, config: ImitationConfig) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]]:
    """Indices of training rows and of the held-out blocks; too few rows for a block leave the second empty."""
    block = np.arange(rows) // config.held_out_block
    held_out = block % config.held_out_every == config.held_out_every - 1
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _accuracy(output: PolicyOutput, action: Int[Array, "b 2"]) -> dict[str, Float[Array, ""]]:
    close = jnp.abs(output.mode() - action) <= 1
    return {f"{head}_within_one": jnp.mean(close[:, i]) for i, head in enumerate(HEADS)}


@functools.partial(jax.jit, static_argnames=("config", "epochs"), donate_argnames=("training",))
def _epochs(
    training: _Training,
    rows: Any,
    held_out: Any,
    keys: Key[Array, " epoch"],
    params: ImitationParams,
    config: ImitationConfig,
    epochs: int,
):
    """Run ``epochs`` epochs, one key each; returns the state and, per epoch, losses and accuracies."""
    count = rows.valid.shape[0]
    batch = min(config.batch, count)
    steps = count // batch
    policy = training.policy
    output = jax.eval_shape(policy, held_out.observation)
    sizes = output.lateral_logits.shape[-1], output.longitudinal_logits.shape[-1]
    weights = (
        class_weights(rows.lateral, rows.valid, sizes[0], params.class_balance),
        class_weights(rows.longitudinal, rows.valid, sizes[1], params.class_balance),
    )
    transform = optimise.transformation(params.gradient_norm, params.weight_decay)

    def loss_of(parameters, observation, action, valid):
        output = dataclasses.replace(policy, parameters=parameters)(observation)
        return imitation_loss(output, action, valid, params, weights)

    def step(carry, inputs):
        parameters, optimiser, epoch, skipped = carry
        chosen, key = inputs
        minibatch = jax.tree.map(lambda x: x[chosen], rows)
        observation, action = augment(minibatch.observation, action_of(minibatch), key, config.augmentation)
        loss, gradients = jax.value_and_grad(loss_of)(parameters, observation, action, minibatch.valid)
        rate = params.learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * epoch / config.epochs))
        parameters, optimiser, _, finite = optimise.guarded_step(
            transform, parameters, optimiser, gradients, loss, rate
        )
        return (parameters, optimiser, epoch, jnp.where(finite, 0, skipped + 1)), loss

    def epoch(training, key):
        key_order, key_augment = jax.random.split(key)
        order = jnp.argsort(jax.random.bits(key_order, (count,)))[: steps * batch].reshape(steps, batch)
        carry = (training.policy.parameters, training.optimiser, training.epoch, training.skipped_in_row)
        (parameters, optimiser, number, skipped), losses = jax.lax.scan(
            step, carry, (order, jax.random.split(key_augment, steps))
        )
        output = dataclasses.replace(policy, parameters=parameters)(held_out.observation)
        validation = imitation_loss(output, action_of(held_out), held_out.valid, params, weights)
        better = validation < training.best_loss
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), parameters, training.best_parameters)
        training = _Training(
            policy=dataclasses.replace(policy, parameters=parameters),
            optimiser=optimiser,
            epoch=number + 1,
            skipped_in_row=skipped,
            best_parameters=best,
            best_loss=jnp.minimum(jnp.nan_to_num(validation, nan=jnp.inf), training.best_loss),
        )
        figures = {"loss": jnp.mean(losses), "validation_loss": validation}
        return training, figures | _accuracy(output, action_of(held_out)) | {"skipped_in_row": skipped}

    return jax.lax.scan(epoch, training, keys, length=epochs)


def fit(
    demonstrations: Any,
    config: ImitationConfig,
    key: PRNGKeyArray,
    *,
    params: ImitationParams = DEFAULT_IMITATION,
    policy: Policy | None = None,
    progress: bool = True,
) -> tuple[Policy, dict[str, Float[np.ndarray, " epoch"]]]:
    """Clone demonstrations into a policy.

    The validation loss is open-loop: it tells over-fitting, not driving. How a policy drives is what ``evaluate`` says.

    Args:
        demonstrations: with ``observation``, ``lateral`` and ``longitudinal`` labels and ``valid``, rows in the order
            in which they were recorded (validation holds out blocks of them).
        config: network, split and schedule.
        key: for the initial parameters, the order of rows and augmentation.
        params: learning rate and weights of the loss.
        policy: where to start from; None builds ``config.policy`` afresh.
        progress: show a bar with both losses.

    Returns:
        The policy, and per epoch: loss, validation_loss, and the fraction of validation rows where a head's mode is
        the label or next to it. With too few rows to hold a block out, validation uses the training rows.

    Raises:
        ValueError: when no row is valid.
        NonFiniteError: when losses stay NaN or infinite for a whole call.
    """
    demonstrations = usable(demonstrations)
    train, held_out = split_rows(len(demonstrations.valid), config)
    rows = jax.tree.map(lambda x: x[train], demonstrations)
    validation = jax.tree.map(lambda x: x[held_out if held_out.size else train], demonstrations)
    key_policy, key_epochs = jax.random.split(key)
    policy = create_policy(config.policy, key_policy) if policy is None else jax.tree.map(jnp.copy, policy)
    training = _Training(
        policy=policy,
        optimiser=optimise.transformation(params.gradient_norm, params.weight_decay).init(policy.parameters),
        epoch=jnp.zeros((), jnp.int32),
        skipped_in_row=jnp.zeros((), jnp.int32),
        best_parameters=jax.tree.map(jnp.copy, policy.parameters),
        best_loss=jnp.array(jnp.inf, jnp.float32),
    )
    history: list[dict[str, np.ndarray]] = []
    with tqdm(total=config.epochs, desc="imitation", unit="epoch", disable=not progress) as bar:
        for first in range(0, config.epochs, config.epochs_per_call):
            epochs = min(config.epochs_per_call, config.epochs - first)
            keys = jax.random.split(jax.random.fold_in(key_epochs, first), epochs)
            training, figures = _epochs(training, rows, validation, keys, params, config, epochs)
            figures = jax.device_get(figures)
            _raise_if_stuck(figures, first)
            history.append(figures)
            bar.set_postfix(loss=f"{figures['loss'][-1]:.3f}", validation=f"{figures['validation_loss'][-1]:.3f}")
            bar.update(epochs)
    chosen = training.best_parameters if config.select == "best" else training.policy.parameters
    curves = {name: np.concatenate([h[name] for h in history]) for name in history[0] if name != "skipped_in_row"}
    return dataclasses.replace(training.policy, parameters=chosen), curves


def _raise_if_stuck(figures: dict[str, np.ndarray], first: int) -> None:
    if not np.isfinite(figures["loss"]).any():
        raise optimise.NonFiniteError(
            f"imitation loss was {figures['loss'][-1]} in all epochs from {first} on, and no step was taken since "
            f"{figures['skipped_in_row'][-1]} minibatches: lower "
            "ImitationParams.learning_rate"
        )

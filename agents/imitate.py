"""Imitation: clone the recorded driver into a policy's two heads."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray
from tqdm import tqdm

from jaxrecon.agents import histories, optimise
from jaxrecon.agents.augment import AugmentConfig, augment
from jaxrecon.agents.checkpoints import TrainingCheckpoints, describe
from jaxrecon.agents.imitation_loss import (
    DEFAULT_IMITATION,
    ImitationParams,
    class_weights,
    imitation_loss,
)
from jaxrecon.agents.networks import HEADS, Policy, PolicyConfig, create_policy
from jaxrecon.agents.normalisers import having_seen
from jaxrecon.agents.outputs import Output, PolicyOutput
from jaxrecon.agents.shown import Shown, prepare
from jaxrecon.agents.validation import Chosen
from jaxrecon.dynamics import LATERAL, LONGITUDINAL

SELECTIONS = ("best", "driving", "last")
ANCHORS = (len(LATERAL), len(LONGITUDINAL))


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
        select: "best" returns the parameters with the lowest validation loss, "driving" those of the lowest cost of
            driving (``fit``'s ``validate``), "last" the final ones.
        epochs_per_call: epochs in one compiled scan, between two updates of the progress bar, and between two drives.
        save_every: calls between two checkpoints.
    """

    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    augmentation: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    epochs: int = 200
    batch: int = 64
    held_out_every: int = 5
    held_out_block: int = 10
    select: str = "best"
    epochs_per_call: int = 10
    save_every: int = 2

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "held_out_block", "epochs_per_call", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"ImitationConfig.{name} is {getattr(self, name)}, expected at least 1")
        if self.held_out_every < 2:
            raise ValueError(f"ImitationConfig.held_out_every is {self.held_out_every}, expected at least 2")
        if self.select not in SELECTIONS:
            raise ValueError(f"ImitationConfig.select is {self.select!r}, expected one of {SELECTIONS}")

    @property
    def calls(self) -> int:
        """Compiled scans of a run."""
        return -(-self.epochs // self.epochs_per_call)


@flax.struct.dataclass
class _Training:
    """All that the next call depends on.

    Attributes:
        policy: as trained so far.
        optimiser: Adam's moments.
        epoch: how many are done.
        skipped_in_row: gradient steps in a row that were not finite.
        chosen: the policy that the configured selection would return now.
        lowest: what it was selected by.
    """

    policy: Policy
    optimiser: Any
    epoch: Any
    skipped_in_row: Any
    chosen: Policy
    lowest: Any


def split_rows(rows: int, config: ImitationConfig) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]]:
    """Indices of training rows and of the held-out blocks; too few rows for a block leave the second empty."""
    block = np.arange(rows) // config.held_out_block
    held_out = block % config.held_out_every == config.held_out_every - 1
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _accuracy(output: Output, action: Int[Array, "b 2"]) -> dict[str, Float[Array, ""]]:
    if not isinstance(output, PolicyOutput):
        return {}
    close = jnp.abs(output.mode() - action) <= 1
    return {f"{head}_within_one": jnp.mean(close[:, i]) for i, head in enumerate(HEADS)}


@functools.partial(jax.jit, static_argnames=("config", "epochs"), donate_argnames=("training",))
def _epochs(
    training: _Training,
    rows: Shown,
    held_out: Shown,
    keys: Key[Array, " epoch"],
    params: ImitationParams,
    config: ImitationConfig,
    epochs: int,
) -> tuple[_Training, dict[str, Array]]:
    """Run ``epochs`` epochs, one key each; returns the state and, per epoch, losses and accuracies."""
    batch = min(config.batch, rows.count)
    steps = rows.count // batch
    policy = training.policy
    partition = optimise.partition(policy)
    everyone = jnp.ones(rows.count, bool)
    weights = (
        class_weights(rows.action[:, 0], everyone, ANCHORS[0], params.class_balance),
        class_weights(rows.action[:, 1], everyone, ANCHORS[1], params.class_balance),
    )
    transform = optimise.transformation(params.gradient_norm, params.weight_decay)

    def loss_of(output: Output, observation: Any, action: Array) -> Array:
        return imitation_loss(output, action, jnp.ones(len(action), bool), params, weights, observation.ego)

    def step(carry: Any, inputs: Any) -> tuple[Any, Array]:
        learned, optimiser, epoch, skipped = carry
        chosen, key = inputs
        observation, action = augment(*rows.take(chosen), key, config.augmentation)
        loss, gradients = jax.value_and_grad(
            lambda learned: loss_of(partition.joined(policy, learned)(observation), observation, action)
        )(learned)
        rate = params.learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * epoch / config.epochs))
        learned, optimiser, _, finite = optimise.guarded_step(transform, learned, optimiser, gradients, loss, rate)
        return (learned, optimiser, epoch, jnp.where(finite, 0, skipped + 1)), loss

    def epoch(training: _Training, key: Array) -> tuple[_Training, dict[str, Array]]:
        key_order, key_augment = jax.random.split(key)
        order = jnp.argsort(jax.random.bits(key_order, (rows.count,)))[: steps * batch].reshape(steps, batch)
        carry = (partition.learned(training.policy), training.optimiser, training.epoch, training.skipped_in_row)
        (learned, optimiser, number, skipped), losses = jax.lax.scan(
            step, carry, (order, jax.random.split(key_augment, steps))
        )
        current = partition.joined(policy, learned)
        observation, action = held_out.take(jnp.arange(held_out.count))
        output = current(observation)
        validation = loss_of(output, observation, action)
        better = (validation < training.lowest) & (config.select == "best")
        better |= config.select == "last"
        training = _Training(
            policy=current,
            optimiser=optimiser,
            epoch=number + 1,
            skipped_in_row=skipped,
            chosen=jax.tree.map(lambda new, old: jnp.where(better, new, old), current, training.chosen),
            lowest=jnp.where(better, validation, training.lowest),
        )
        figures = {"loss": jnp.mean(losses), "validation_loss": validation}
        return training, figures | _accuracy(output, action) | {"skipped_in_row": skipped}

    return jax.lax.scan(epoch, training, keys, length=epochs)


def fit(
    demonstrations: Any,
    config: ImitationConfig,
    key: PRNGKeyArray,
    *,
    params: ImitationParams = DEFAULT_IMITATION,
    policy: Policy | None = None,
    validate: Callable[[Policy], float] | None = None,
    folder: str | pathlib.Path | None = None,
    identity: Mapping[str, str] | None = None,
    progress: bool = True,
) -> tuple[Policy, dict[str, Float[np.ndarray, " epoch"]]]:
    """Clone demonstrations into a policy.

    The validation loss is open-loop: it tells over-fitting, not driving. ``validate`` tells how a policy drives.

    Args:
        demonstrations: ``Demonstrations`` of one drive, rows in the order in which they were recorded (validation holds
            out blocks of them), or what ``shown.prepare`` made of those of several.
        config: network, split and schedule.
        key: for the initial parameters, the order of rows and augmentation.
        params: learning rate and weights of the loss.
        policy: where to start from; None builds ``config.policy`` afresh.
        validate: cost of driving of a policy, the lower the better, see ``validation.DrivingCost``; asked after every
            call, for ``select="driving"``.
        folder: of checkpoints, from which the same call goes on exactly; None saves nothing.
        identity: what else a resumed run must agree in, the scenes' content hashes, say.
        progress: show a bar with both losses.

    Returns:
        The policy, and per epoch: loss, validation_loss, driving_cost where it was asked for (of an epoch between, the
        one after it), and the fraction of validation rows where a head's mode is the label or next to it. With too few
        rows to hold a block out, validation uses the training rows.

    Raises:
        DemonstrationError: when no row is valid.
        NonFiniteError: when losses stay NaN or infinite for a whole call, or the cost of driving is, which selects.
        CheckpointError: when the folder holds the checkpoints of another run.
        ValueError: when driving is to select and there is no ``validate``.
    """
    if config.select == "driving" and validate is None:
        raise ValueError("ImitationConfig.select is 'driving' and fit got no validate; give it, or select by 'best'")
    history = config.policy.history if policy is None else histories.history_of(policy)
    shown = demonstrations if isinstance(demonstrations, Shown) else prepare(demonstrations, history)
    train, held_out = split_rows(shown.count, config)
    chosen = (train, held_out if held_out.size else train)
    rows, validation = (shown.rows(jnp.asarray(some, jnp.int32)) for some in chosen)
    key_policy, key_epochs = jax.random.split(key)
    training = _begin(create_policy(config.policy, key_policy) if policy is None else policy, rows, params)
    done: list[dict[str, Any]] = []
    checkpoints = None
    if folder is not None:
        run = describe(config=config, key=key, params=params, rows=shown.count, identity=dict(identity or {}))
        checkpoints = TrainingCheckpoints(folder, run)
        training, done = checkpoints.restore_latest(training)
    with tqdm(total=config.epochs, initial=len(done), desc="imitation", unit="epoch", disable=not progress) as bar:
        for call in range(len(done) // config.epochs_per_call, config.calls):
            first = call * config.epochs_per_call
            epochs = min(config.epochs_per_call, config.epochs - first)
            keys = jax.random.split(jax.random.fold_in(key_epochs, first), epochs)
            training, figures = _epochs(training, rows, validation, keys, params, config, epochs)
            figures = jax.device_get(figures)
            _raise_if_stuck(figures, first)
            told = {"loss": f"{figures['loss'][-1]:.3f}", "validation": f"{figures['validation_loss'][-1]:.3f}"}
            if validate is not None:
                training, cost = _drive(training, validate, config)
                figures["driving_cost"] = np.full(epochs, cost, np.float32)
                told["driving"] = f"{cost:.3f}"
            done += [{name: values[i] for name, values in figures.items()} for i in range(epochs)]
            if checkpoints and ((call + 1) % config.save_every == 0 or call + 1 == config.calls):
                checkpoints.save(len(done), training, done)
            bar.set_postfix(told)
            bar.update(epochs)
    curves = {name: np.stack([row[name] for row in done]) for name in done[0] if name != "skipped_in_row"}
    return training.chosen, curves


def _begin(policy: Policy, rows: Shown, params: ImitationParams) -> _Training:
    """State before the first epoch, in buffers of its own; the policy's moments are those of the rows."""
    policy = having_seen(policy, rows.rest, None, jnp.ones(rows.count, bool))
    learned = optimise.partition(policy).learned(policy)
    training = _Training(
        policy=policy,
        optimiser=optimise.transformation(params.gradient_norm, params.weight_decay).init(learned),
        epoch=jnp.zeros((), jnp.int32),
        skipped_in_row=jnp.zeros((), jnp.int32),
        chosen=policy,
        lowest=jnp.array(jnp.inf, jnp.float32),
    )
    return optimise.owned(training)


def _drive(
    training: _Training, validate: Callable[[Policy], float], config: ImitationConfig
) -> tuple[_Training, float]:
    """Let the policy drive; where driving selects, it is chosen if it does so better than any before."""
    if config.select != "driving":
        return training, float(validate(training.policy))
    best, cost = Chosen(training.chosen, training.lowest).or_better(training.policy, validate)
    return dataclasses.replace(training, chosen=best.policy, lowest=best.cost), cost


def _raise_if_stuck(figures: dict[str, np.ndarray], first: int) -> None:
    if not np.isfinite(figures["loss"]).any():
        raise optimise.NonFiniteError(
            f"imitation loss was {figures['loss'][-1]} in all epochs from {first} on, and no step was taken since "
            f"{figures['skipped_in_row'][-1]} minibatches: lower "
            "ImitationParams.learning_rate"
        )

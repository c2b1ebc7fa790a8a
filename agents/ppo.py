"""PPO: improve a policy by driving, with checkpoints from which an interrupted run goes on exactly."""

import math
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from tqdm import tqdm

from jaxrecon.agents import histories, optimise
from jaxrecon.agents.checkpoints import Figures, TrainingCheckpoints, describe
from jaxrecon.agents.environment import Environment
from jaxrecon.agents.imitation_loss import UNFOCUSED_IMITATION, ImitationParams
from jaxrecon.agents.ppo_config import DEFAULT_PPO, PPOConfig, PPOParams
from jaxrecon.agents.ppo_update import TrainingState, initial_state, update
from jaxrecon.agents.shown import Shown, prepare
from jaxrecon.agents.validation import Chosen

__all__ = ["TrainingState", "fit", "initial_state", "update"]


def fit(
    environment: Environment,
    policy: Any,
    config: PPOConfig,
    key: PRNGKeyArray,
    *,
    params: PPOParams = DEFAULT_PPO,
    environment_params: Any = None,
    demonstrations: Any = None,
    imitation_params: ImitationParams = UNFOCUSED_IMITATION,
    folder: str | pathlib.Path | None = None,
    validate: Callable[[Any], float] | None = None,
    identity: Mapping[str, str] | None = None,
    callback: Callable[[int, Figures], None] | None = None,
    progress: bool = True,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Improve a policy by driving.

    With a folder, the whole training state is saved there every ``config.save_every`` updates and at the end, and a
    call that finds one goes on from the newest whole one: exactly the run that was interrupted, on one CPU bit for bit.

    Args:
        environment: pytree with pure ``reset`` and ``step``.
        policy: where to start from: a ``Policy``, or any pytree that maps a batch of observations to an ``Output``.
        config: shape of the run.
        key: for everything random.
        params: of PPO.
        environment_params: handed to the environment's ``reset`` and ``step``.
        demonstrations: to imitate beside (``config.imitation_share``): ``Demonstrations`` of one drive in its order,
            or what ``shown.prepare`` made of those of several; or None.
        imitation_params: of that loss; its learning rate and weight decay have no effect here.
        folder: of the checkpoints; None saves nothing.
        validate: cost of driving of a policy, the lower the better, see ``validation.DrivingCost``; asked every
            ``config.validate_every`` updates and after the last. The policy of the lowest cost is returned.
        identity: what else a resumed run must agree in, a scene's content hash, say.
        callback: called on the host after each update with its number, counted from 0, and its figures.
        progress: show a bar with reward, event rate and environment steps per second.

    Returns:
        The policy, the last one where nothing validates, and per update every figure of ``update``,
        ``steps_per_second``, and ``driving_cost``, NaN where it was not asked for.

    Raises:
        CheckpointError: when the folder holds the checkpoints of another run.
        NonFiniteError: when gradients stay NaN or infinite, or the cost of driving is.
        InvalidBatchError: when no step of an update belongs to an episode.
        DemonstrationError: when demonstrations are given and none is valid.
        ValueError: when a head is to learn from a reward that the environment does not have.
    """
    training = initial_state(environment, policy, config, key, params, environment_params)
    _require_rewards(training, environment, config, environment_params)
    shown = None
    if demonstrations is not None and config.imitation_share > 0:
        history = histories.history_of(policy)
        shown = demonstrations if isinstance(demonstrations, Shown) else prepare(demonstrations, history)
    chosen = None if validate is None else Chosen.start(training.policy)
    checkpoints = None
    rows: list[Figures] = []
    if folder is not None:
        checkpoints = TrainingCheckpoints(
            folder, _run(policy, config, key, params, imitation_params) | {"identity": dict(identity or {})}
        )
        (training, chosen), rows = checkpoints.restore_latest((training, chosen))
    with tqdm(total=config.updates, initial=len(rows), desc="ppo", unit="update", disable=not progress) as bar:
        for number in range(len(rows), config.updates):
            start = time.perf_counter()
            training, figures = update(
                training, environment, shown, config, params, imitation_params, environment_params
            )
            figures = jax.device_get(figures)
            speed = config.environments * config.steps / (time.perf_counter() - start)
            _raise_if_stuck(figures, number, config)
            cost, last = math.nan, number + 1 == config.updates
            if chosen is not None and validate is not None and ((number + 1) % config.validate_every == 0 or last):
                chosen, cost = chosen.or_better(training.policy, validate)
            rows.append(figures | {"steps_per_second": np.float32(speed), "driving_cost": np.float32(cost)})
            if checkpoints and ((number + 1) % config.save_every == 0 or last):
                checkpoints.save(number + 1, (training, chosen), rows)
            told = {"reward": f"{figures['reward']:.4f}", "events": f"{figures['event_rate']:.2%}"}
            told |= {} if chosen is None else {"driving": f"{float(chosen.cost):.3f}"}
            bar.set_postfix(told | {"steps_per_s": f"{speed:.0f}"})
            bar.update()
            if callback is not None:
                callback(number, rows[-1])
    curves = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    if curves["overflow_share"].any():
        warnings.warn(
            f"{curves['overflow_share'].mean():.1%} of the training observations lacked content: raise the renderer's "
            "capacity",
            stacklevel=2,
        )
    return training.policy if chosen is None else chosen.policy, curves


def _run(
    policy: Any, config: PPOConfig, key: PRNGKeyArray, params: PPOParams, imitation_params: ImitationParams
) -> dict[str, Any]:
    """What a checkpoint must agree in to be gone on from."""
    inner = getattr(policy, "policy", policy)
    shape = getattr(inner, "config", None)  # what is trained may be any pytree that maps observations to outputs
    run = describe(config=config, policy=shape, key=key, params=params, imitation_params=imitation_params)
    # A run may be lengthened, and saved more or less often, without being another one.
    run["config"] = {k: v for k, v in run["config"].items() if k not in ("updates", "save_every")}
    return run


def _require_rewards(training: TrainingState, environment: Environment, config: PPOConfig, params: Any) -> None:
    """Raise where a head is to learn from a reward that there is not, or a critic is missing."""

    def act() -> tuple[Any, Any]:
        output = training.policy(histories.seen(training.observation, training.memory))
        return output, output.sample(training.key)

    output, action = jax.eval_shape(act)
    _, result = jax.eval_shape(type(environment).step, environment, training.environment, action, params)
    rewards, values = result.reward.shape[-1], output.values.shape[-1]
    highest = max(max(own) for own in config.rewards_of_heads)
    if rewards != values or highest >= rewards:
        raise ValueError(
            f"the environment has {rewards} rewards, the policy {values} values, and PPOConfig's heads learn from "
            f"{config.rewards_of_heads}; expected one value a reward, and indices below their number"
        )


def _raise_if_stuck(figures: Figures, number: int, config: PPOConfig) -> None:
    report = {name: np.asarray(figure).round(4).tolist() for name, figure in figures.items()}
    if figures["valid_share"] == 0:
        raise optimise.InvalidBatchError(
            f"update {number}: none of its {config.environments * config.steps} steps belongs to an episode "
            f"(StepResult.valid is false throughout), so nothing can be learned from them. Look at the environment's "
            f"reset and at which of its steps it marks valid. Figures of the update: {report}"
        )
    if figures["skips"] >= config.stop_after_skips:
        raise optimise.NonFiniteError(
            f"update {number}: the last {figures['skips']} gradient steps were NaN or infinite and were skipped "
            f"({figures['skipped']} in all); parameters are those before them. Look at the environment's rewards and "
            f"observations, or lower PPOParams.learning_rate. Figures of the update: {report}"
        )

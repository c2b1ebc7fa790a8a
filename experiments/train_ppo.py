"""Improve a policy by driving in the splat worlds of the training streets: PPO beside imitation.

    python experiments/train_ppo.py --streets outputs/streets --policy outputs/il/policy --out outputs/rl
    python experiments/train_ppo.py --streets outputs/streets --out outputs/scratch --imitation-share 0
    python experiments/train_ppo.py --streets outputs/streets --out outputs/hardened --corner-cases 2000

Writes into the folder: `policy`, the one that drove best on streets kept for validation; `metrics.jsonl`, a line an
update; `curves.png`; `metrics.json`, with how the policy drives on those streets, before and after. With corner cases
also `corner_cases.png`, how each behaviour stands. The same command goes on where it was stopped, exactly; with more
--updates it lengthens the run.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from runs import Run, RunError, fingerprint_of, write_text
from training_cases import cases_as_clips, draw_behaviours, hash_of_cases, standing, with_cases
from training_presets import (
    DISCOUNT,
    DYNAMIC,
    ERRORS,
    PROGRESS_WEIGHT,
    TERMS,
    VARIED,
    PresetName,
    changed,
    for_training,
    key_of,
    network,
    preset_of,
    training_params,
    validation_params,
)
from training_records import Records
from training_worlds import TrainingWorlds, driving_of, show_all, training_worlds, validation_clips

from jaxrecon import agents
from jaxrecon.agents import PPOParams
from jaxrecon.agents.varied import VariedEnvironment


@dataclasses.dataclass(frozen=True)
class TrainPPO:
    """Improve a policy.

    Attributes:
        out: folder of the run.
        streets: folder of the streets that `fit_streets.py` made.
        policy: folder of the policy to start from, as `imitate.py` writes it; a new one by default.
        preset: how much of everything; `auto` takes `full` where JAX finds an accelerator, else `cpu`.
        size: of a new policy; the preset says by default.
        blind: show it black frames.
        varied: light, colours and mount differ from clip to clip and half of the worlds are mirrored; not if blind.
        freeze: parts of the policy that are not trained, `encoder` say.
        swerve: let the lateral head learn from collisions with moving road users too, which RAD leaves to the
            longitudinal head alone.
        progress: what a metre along the path is worth, as long as the recorded driver is not behind.
        imitation_share: of the loss and of the rows of a step; 0 imitates nothing.
        learning_rate: of the first update.
        discount: of a reward, a step of 0.1 s: 0.97 looks ahead for three seconds, as long as it takes to stop.
        entropy_weight: of the bonus on the heads' entropy.
        auxiliary_weight: of the losses that move probability away from where events threaten.
        updates: the preset says by default, like the following.
        environments: driven side by side.
        steps: of each in an update.
        epochs: passes over an update's steps.
        corner_cases: how many to make in the training streets, of the behaviours that are not kept for tests; those are
            played most that the policy fails about half the time. 0 makes none.
        corner_share: of the clips in which one is played.
        copies: of every demonstrated moment, seen from beside the path.
        clips: of the validation before and after.
        seed: of every random choice.
    """

    out: pathlib.Path = pathlib.Path("outputs/rl")
    streets: pathlib.Path | None = None
    policy: pathlib.Path | None = None
    preset: PresetName = "auto"
    size: str | None = None
    blind: bool = False
    varied: bool = True
    freeze: tuple[str, ...] = ()
    swerve: bool = False
    progress: float = PROGRESS_WEIGHT
    imitation_share: float = 0.2
    learning_rate: float = PPOParams().learning_rate
    discount: float = DISCOUNT
    entropy_weight: float = PPOParams().entropy_weight
    auxiliary_weight: float = PPOParams().auxiliary_weight
    corner_cases: int = 0
    corner_share: float = 0.5
    updates: int | None = None
    environments: int | None = None
    steps: int | None = None
    epochs: int | None = None
    copies: int | None = None
    clips: int | None = None
    seed: int = 0


def main(config: TrainPPO) -> dict[str, Any]:
    """Train until all updates are done; returns the metrics."""
    names = ("updates", "environments", "steps", "epochs", "copies", "clips")
    preset = changed(preset_of(config.preset), **{name: getattr(config, name) for name in names})
    changes = VARIED if config.varied and not config.blind else None
    schedule = dataclasses.replace(
        preset.ppo, frozen=config.freeze, imitation_share=config.imitation_share, augmentation=changes
    )
    if config.swerve:
        schedule = dataclasses.replace(schedule, lateral_rewards=(DYNAMIC, *schedule.lateral_rewards))
    policy = _start(config, preset.policy, preset.image)
    image = (policy.config.width, policy.config.height)
    worlds, params = training_worlds(config.streets, image), training_params(config.progress)
    numbers = PPOParams(
        learning_rate=config.learning_rate,
        final_learning_rate=0.1 * config.learning_rate,
        discount=config.discount,
        entropy_weight=config.entropy_weight,
        auxiliary_weight=config.auxiliary_weight,
    )
    train = for_training(worlds.train, policy.config.action, config.blind)
    _check_cases(config)
    run = Run(config.out, _identity(config, worlds, schedule, policy, preset.copies, preset.clips))
    environment, content = train, worlds.content
    if config.corner_cases:
        environment = with_cases(train, params, config.corner_cases, key_of(config.seed, 4))
        params = dataclasses.replace(params, case_share=jnp.asarray(config.corner_share, jnp.float32))
        content = content | {"corner cases": hash_of_cases(environment)}
    if changes is not None:
        environment = VariedEnvironment(environment, changes)
    costs, shown = _costs(config, worlds, policy.config.action, preset.clips), None
    if config.imitation_share > 0:
        key_shown = key_of(config.seed, 1)
        shown = show_all(train, params, preset.copies, policy.config.history, key_shown, config.blind)
    records = Records(run.folder, [name for name, _ in TERMS])
    trained, curves = agents.ppo.fit(
        environment, policy, schedule, key_of(config.seed, 0), params=numbers, environment_params=params,
        demonstrations=shown, folder=run.folder / "checkpoints", identity=content, callback=records.add,
        validate=lambda one: float(np.mean([cost(one) for cost in costs.values()])),
    )  # fmt: skip
    records.draw()
    draw_behaviours(records.rows, run.folder)
    agents.save_policy(run.folder / "policy", trained, {"trained": "ppo", "seed": config.seed}, overwrite=True)
    metrics = {
        "updates": schedule.updates,
        "env_steps_per_second": float(np.median(curves["steps_per_second"])),
        "skipped": int(curves["skipped"][-1]),
        "overflow_share": float(curves["overflow_share"].mean()),
        "device": jax.devices()[0].device_kind,
        "driving": {
            name + where: driving_of(cost, one)
            for where, cost in costs.items()
            for name, one in {"before": policy, "after": trained}.items()
        },
    }
    if config.corner_cases:
        metrics["corner_cases"] = standing(records.rows[-1])
    write_text(run.folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    for name, told in metrics["driving"].items():
        print(f"{name:<22}" + "  ".join(f"{key} {value:.3f}" for key, value in told.items()))
    print(f"{metrics['env_steps_per_second']:.0f} environment steps per second; policy: {run.folder / 'policy'}")
    return metrics


def _check_cases(config: TrainPPO) -> None:
    """Raise for numbers of corner cases that mean nothing.

    Raises:
        RunError: naming the flag.
    """
    if config.corner_cases < 0:
        raise RunError(f"--corner-cases is {config.corner_cases}; expected 0 or more")
    if not 0 <= config.corner_share <= 1:
        raise RunError(f"--corner-share is {config.corner_share}; expected a share from 0 to 1")


def _start(config: TrainPPO, size: str, image: tuple[int, int]) -> agents.Policy:
    """The policy to start from.

    Raises:
        ArchitectureError: it has not a critic for each reward.
    """
    if config.policy is None:
        return agents.create_policy(network(config.size or size, image), key_of(config.seed, 3))
    policy, _ = agents.load_policy(config.policy)
    if policy.config.rewards != len(TERMS):
        raise agents.ArchitectureError(
            f"{config.policy} has {policy.config.rewards} values, the rewards are {[name for name, _ in TERMS]}: start "
            "from a policy that imitate.py made"
        )
    return policy


def _identity(
    config: TrainPPO, worlds: TrainingWorlds, schedule: agents.PPOConfig, policy: agents.Policy, copies: int, clips: int
) -> dict[str, Any]:
    """What decides the results; a run may be lengthened."""
    shape = {k: v for k, v in dataclasses.asdict(schedule).items() if k not in ("updates", "save_every")}
    swept = {name: getattr(config, name) for name in ("progress", "learning_rate", "discount", "entropy_weight")}
    if config.corner_cases:
        swept |= {"corner_cases": config.corner_cases, "corner_share": config.corner_share}
    start = None if config.policy is None else fingerprint_of(config.policy)
    return {
        "scenes": worlds.content, "held_out": worlds.held_out, "ppo": shape, **swept,
        "auxiliary_weight": config.auxiliary_weight, "start": start, "network": dataclasses.asdict(policy.config),
        "blind": config.blind, "copies": copies, "clips": clips, "seed": config.seed,
    }  # fmt: skip


def _costs(config: TrainPPO, worlds: TrainingWorlds, action: str, count: int) -> dict[str, agents.DrivingCost]:
    """How policies drive on the streets that are kept for validation, and in corner cases there if any are made."""
    validation, params = for_training(worlds.validation, action, config.blind), validation_params()
    clips = validation_clips(validation, key_of(config.seed, 2), count)
    costs = {"": agents.DrivingCost(validation, clips, params, count, config.blind)}
    if config.corner_cases:
        cases = cases_as_clips(validation, params, count, key_of(config.seed, 5), config.blind)
        costs[", corner cases"] = cases
    return costs


if __name__ == "__main__":
    try:
        main(tyro.cli(TrainPPO, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    except ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

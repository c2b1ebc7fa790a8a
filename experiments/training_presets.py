"""How much is trained with, by machine: what `imitate.py`, `train_ppo.py` and the training suite share."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from runs import RunError

from jaxrecon import agents
from jaxrecon.agents import AugmentConfig, ImitationConfig, PolicyConfig, PPOConfig
from jaxrecon.agents.policy_config import SIZES, ConvolutionalConfig
from jaxrecon.simulator import (
    ALL_TERMS,
    RAD_TERMS,
    Simulator,
    SimulatorConfig,
    SimulatorParams,
    default_params,
    reward_weights,
)

# Foreseeable errors of data, folders and flags, and of training itself; almost all are kinds of ValueError.
ERRORS = (ValueError, agents.NonFiniteError, agents.InvalidBatchError)
# RAD's four events reward no progress: without it a car that stands would score well. To be faster than the recorded
# driver must not pay: policies then drive into who is ahead, for metres that no metric counts.
PROGRESS = "expert_progress"
TERMS = (*RAD_TERMS, *(term for term in ALL_TERMS if term[0] == PROGRESS))
DYNAMIC = 0  # of the terms: collisions with moving road users
LATERAL_REWARDS, LONGITUDINAL_REWARDS = (1, 2, 3), (DYNAMIC, 4)
PROGRESS_WEIGHT = 0.08  # a metre; what a car covers in a second at 12 m/s weighs almost a collision
DISCOUNT = 0.97  # a step; RAD's 0.9 looks ahead for one second, and a car takes three to stop
# Clips start beside the recorded path, where small errors of its own would take a policy.
START = {"start_lateral": 0.5, "start_heading": 0.05}
# Thirty worlds are learned by heart: cases that were met are mastered, and those of other streets are not. Each clip of
# PPO looks different therefore, and half of them are mirrored, for a street has one camera, which looks ahead from the
# middle of the car. Splats show less than half of reality's fine detail, so some clips are sharpened to as much and
# more: else policies brake for what is sharp. Imitation changes the light alone.
VARIED = AugmentConfig(brightness=0.2, contrast=0.3, colour=0.2, sharpness=2.0, mount=2, mirror_cameras=(0,))
BLOCK = 10  # frames that are held out together


@dataclasses.dataclass(frozen=True)
class Preset:
    """How much of everything.

    Attributes:
        policy: size of the policy, see ``policy_config``.
        image: width and height of its images, pixels.
        copies: of every recorded moment, seen from beside the recorded path.
        imitation_epochs: passes over the demonstrations.
        imitation_batch: rows of a gradient step.
        calls: compiled scans of the imitation, after each of which the policy drives.
        clips: that it drives then, on streets that it is not trained on.
        ppo: shape of the run.
    """

    policy: str
    image: tuple[int, int]
    copies: int
    imitation_epochs: int
    imitation_batch: int
    calls: int
    clips: int
    ppo: PPOConfig


def _ppo(updates: int, environments: int, steps: int, **fields: Any) -> PPOConfig:
    heads = {"lateral_rewards": LATERAL_REWARDS, "longitudinal_rewards": LONGITUDINAL_REWARDS}
    return PPOConfig(updates=updates, environments=environments, steps=steps, **heads, **fields)


SHIPPED_PPO = _ppo(1200, 1024, 16, epochs=3, minibatches=4, save_every=25)
PRESETS = {
    "tiny": Preset("tiny", (16, 12), 1, 4, 16, 2, 4, _ppo(3, 8, 4, minibatches=2, epochs=2, save_every=2)),
    "cpu": Preset("demo", (48, 32), 2, 60, 64, 6, 64, _ppo(60, 64, 16, save_every=10)),
    "full": Preset("shipped", (96, 64), 4, 60, 512, 10, 256, SHIPPED_PPO),
}
TINY_POLICY: dict[str, Any] = {
    "encoder": ConvolutionalConfig(channels=(4, 8)), "camera_features": 16, "state_features": 8, "trunk": (16,),
}  # fmt: skip
PresetName = Literal["auto", "tiny", "cpu", "full"]


def preset_of(name: PresetName) -> Preset:
    """A preset by name; `auto` takes `full` where JAX finds an accelerator, else `cpu`."""
    automatic = "cpu" if jax.default_backend() == "cpu" else "full"
    return PRESETS[automatic if name == "auto" else name]


def network(size: str, image: tuple[int, int], **fields: Any) -> PolicyConfig:
    """A policy of a named size for one camera, with a critic for each of ``TERMS``.

    Raises:
        RunError: there is no such size.
    """
    shape = {"width": image[0], "height": image[1], "rewards": len(TERMS), **fields}
    if size == "tiny":
        return PolicyConfig(**{**TINY_POLICY, **shape})
    if size not in SIZES:
        raise RunError(f"--size {size}: expected one of {sorted([*SIZES, 'tiny'])}")
    return agents.policy_config(size, **shape)


def imitation_config(preset: Preset, policy: PolicyConfig) -> ImitationConfig:
    """Schedule of the imitation: recorded moments and their copies are held out block by block."""
    return ImitationConfig(
        policy=policy,
        epochs=preset.imitation_epochs,
        batch=preset.imitation_batch,
        held_out_block=BLOCK * (1 + preset.copies),
        select="driving",
        epochs_per_call=-(-preset.imitation_epochs // preset.calls),
    )


def training_params(progress: float = PROGRESS_WEIGHT) -> SimulatorParams:
    """Rewards, thresholds and starts to train with."""
    return default_params(reward_weights({PROGRESS: progress}, TERMS), **START)


def validation_params() -> SimulatorParams:
    """The same rewards and the scoreboard's starts."""
    return default_params(reward_weights({PROGRESS: PROGRESS_WEIGHT}, TERMS))


def for_training(simulator: Simulator, action: str, blind: bool) -> Simulator:
    """The same worlds with the rewards and actions of training; nothing is drawn for the blind."""
    config = SimulatorConfig(action=action, terms=TERMS, render=not blind)
    return dataclasses.replace(simulator, config=config)


def changed(preset: Preset, **changes: Any) -> Preset:
    """A preset with the given changes, None meaning none; those of ``PPOConfig`` go there.

    Raises:
        RunError: a number is below 1.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, int) and value < 1:
            raise RunError(f"--{name.replace('_', '-')} is {value}; expected at least 1")
    own = {field.name for field in dataclasses.fields(Preset)}
    ppo = dataclasses.replace(preset.ppo, **{name: value for name, value in given.items() if name not in own})
    return dataclasses.replace(preset, ppo=ppo, **{name: value for name, value in given.items() if name in own})


def key_of(seed: int, number: int) -> jax.Array:
    """Keys of a run that never meet.

    0 trains, 1 draws what is trained on, 2 what is validated on, 3 a new policy, 4 corner cases to train with,
    5 those to validate with.
    """
    return jax.random.fold_in(jax.random.key(seed), jnp.asarray(number))

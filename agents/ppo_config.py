"""Shape of a PPO run and the numbers that may change within it."""

import dataclasses
from typing import Any

import flax.struct

from jaxrecon.agents.augment import AugmentConfig


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Shape of a training run.

    Attributes:
        updates: how many.
        environments: driven side by side.
        steps: of every environment in an update.
        epochs: passes over an update's samples.
        minibatches: gradient steps of a pass; divides ``environments * steps``.
        lateral_rewards, longitudinal_rewards: the rewards (indices into the environment's) that each head learns from.
        auxiliary: whether to tell from where events threaten, for the auxiliary losses; environments that cannot tell
            have none.
        frozen: parts of the policy that are not trained, by name, ("encoder",) say.
        imitation_share: of the loss, and of the rows in a gradient step, that demonstrations have where they are given;
            0.2 is RAD's four to one.
        augmentation: changes to demonstrations that keep their labels true; None changes nothing. What is driven is
            changed by the environment (``varied.VariedEnvironment``).
        critic_updates: the first so many updates fit the critics and demonstrations only.
        validate_every: updates between two drives of ``fit``'s ``validate``.
        save_every: updates between two checkpoints.
        stop_after_skips: gradient steps in a row that were not finite before training stops with an error.
    """

    updates: int = 100
    environments: int = 64
    steps: int = 16
    epochs: int = 3
    minibatches: int = 4
    lateral_rewards: tuple[int, ...] = (1, 2, 3)
    longitudinal_rewards: tuple[int, ...] = (0,)
    auxiliary: bool = True
    frozen: tuple[str, ...] = ()
    imitation_share: float = 0.2
    augmentation: AugmentConfig | None = None
    critic_updates: int = 2
    validate_every: int = 50
    save_every: int = 20
    stop_after_skips: int = 24

    def __post_init__(self) -> None:
        positive = ("updates", "environments", "steps", "epochs", "minibatches", "validate_every", "save_every")
        for name in (*positive, "stop_after_skips"):
            if getattr(self, name) < 1:
                raise ValueError(f"PPOConfig.{name} is {getattr(self, name)}, expected at least 1")
        if self.critic_updates < 0:
            raise ValueError(f"PPOConfig.critic_updates is {self.critic_updates}, expected 0 or more")
        if self.environments * self.steps % self.minibatches:
            raise ValueError(
                f"PPOConfig.minibatches is {self.minibatches}, expected a divisor of environments * steps = "
                f"{self.environments * self.steps}"
            )
        if not 0 <= self.imitation_share < 1:
            raise ValueError(f"PPOConfig.imitation_share is {self.imitation_share}, expected 0 <= share < 1")
        for name in ("lateral_rewards", "longitudinal_rewards"):
            if not getattr(self, name):
                raise ValueError(f"PPOConfig.{name} is empty, expected at least one index of a reward")

    @property
    def rewards_of_heads(self) -> tuple[tuple[int, ...], ...]:
        """Rewards that each head learns from, in the order of ``outputs.HEADS``."""
        return self.lateral_rewards, self.longitudinal_rewards

    @property
    def demonstrations_per_minibatch(self) -> int:
        """Rows of demonstrations that keep their share of a gradient step's rows."""
        rows = self.environments * self.steps // self.minibatches
        return max(1, round(rows * self.imitation_share / (1 - self.imitation_share)))


@flax.struct.dataclass
class PPOParams:
    """Numbers that may be swept without a new compilation.

    Attributes:
        learning_rate: of the first update.
        final_learning_rate: of the last one; it changes linearly between.
        discount: gamma.
        decay: lambda of the advantage estimate.
        lateral_clip, longitudinal_clip: how far each head's probability ratio may move before its gradient stops.
        value_weight: of the critics' squared error.
        entropy_weight: of the bonus on both heads' entropy, per nat.
        auxiliary_weight: of the losses that move probability away from where events threaten.
        advantage_floor: smallest standard deviation that advantages are divided by.
        gradient_norm: gradients are clipped to it.

    Source:
        Schulman et al. 2017 (PPO); clips, discount, decay and auxiliary losses of RAD (arXiv 2502.13144).
    """

    learning_rate: Any = 3e-4
    final_learning_rate: Any = 3e-5
    discount: Any = 0.9
    decay: Any = 0.95
    lateral_clip: Any = 0.1
    longitudinal_clip: Any = 0.2
    value_weight: Any = 0.5
    entropy_weight: Any = 1e-3
    auxiliary_weight: Any = 0.1
    advantage_floor: Any = 0.02
    gradient_norm: Any = 0.5


DEFAULT_PPO = PPOParams()

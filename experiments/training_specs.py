"""What the training suite measures with, at full scale and at one that only shows that it runs."""

import dataclasses

from simulator_specs import ASSEMBLY, BUSY
from training_presets import LATERAL_REWARDS, LONGITUDINAL_REWARDS, PRESETS, SHIPPED_PPO, VARIED

from jaxrecon.agents import PPOConfig
from jaxrecon.scene.assembled import AssembleConfig
from jaxrecon.street import StreetConfig


@dataclasses.dataclass(frozen=True)
class TrainingScale:
    """How much of everything.

    Attributes:
        name: of the scale; it stands in each row that is not of the full one.
        street: of which every scene is one, by seed.
        scenes: to train in.
        assembly: of a scene, before its levels are built.
        least_splats: that a scene must have.
        least_moving: actors that must move in a scene.
        size: of a camera's image, pixels.
        shipped: size of the policy of the first row, see ``training_presets.network``.
        residual: likewise of the second.
        ppo: shape of the run, the same for both.
        copies: of every moment that is shown.
        cases: corner cases, in the row that has them.
        residual_minibatches: of an epoch of the second, whose gradients need more memory.
        updates: timed.
        anywhere: whether rows are measured on whatever device there is.
    """

    name: str
    street: StreetConfig
    scenes: int
    assembly: AssembleConfig
    least_splats: int
    least_moving: int
    size: tuple[int, int]
    shipped: str
    residual: str
    ppo: PPOConfig
    copies: int
    cases: int
    residual_minibatches: int
    updates: int
    anywhere: bool = False


SCALES = {
    "full": TrainingScale(
        name="full",
        street=dataclasses.replace(BUSY, layout="random"),
        scenes=16,
        assembly=ASSEMBLY,
        least_splats=200_000,
        least_moving=16,
        size=(96, 64),
        shipped="shipped",
        residual="resnet",
        ppo=dataclasses.replace(SHIPPED_PPO, augmentation=VARIED),
        copies=PRESETS["full"].copies,
        cases=10_000,
        residual_minibatches=8,
        updates=5,
    ),
    "tiny": TrainingScale(
        name="tiny",
        street=StreetConfig(layout="curve", length=120.0, seconds=3.0, moving=3, parked=2, pedestrians=1),
        scenes=2,
        assembly=AssembleConfig(capacity=12_000),
        least_splats=8_000,
        least_moving=1,
        size=(16, 12),
        shipped="tiny",
        residual="tiny",
        ppo=PPOConfig(
            updates=4,
            environments=4,
            steps=2,
            epochs=2,
            minibatches=1,
            lateral_rewards=LATERAL_REWARDS,
            longitudinal_rewards=LONGITUDINAL_REWARDS,
            augmentation=VARIED,
        ),
        copies=1,
        cases=6,
        residual_minibatches=2,
        updates=2,
        anywhere=True,
    ),
}

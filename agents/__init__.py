"""Camera policies: networks, imitation, PPO, closed-loop evaluation and checkpoints."""

from jaxrecon.agents import evaluate, imitate, ppo
from jaxrecon.agents.augment import AugmentConfig
from jaxrecon.agents.checkpoints import (
    ArchitectureError,
    CheckpointError,
    TrainingCheckpoints,
    load_policy,
    save_policy,
)
from jaxrecon.agents.environment import Environment
from jaxrecon.agents.evaluate import Clips, ClosedLoopReport, Film, compare, draw_clips
from jaxrecon.agents.imitate import ImitationConfig
from jaxrecon.agents.imitation_loss import ImitationParams
from jaxrecon.agents.networks import (
    HEADS,
    CameraPolicy,
    Policy,
    PolicyConfig,
    PolicyOutput,
    create_policy,
    parameter_count,
    policy_of,
    policy_shape,
)
from jaxrecon.agents.optimise import NonFiniteError
from jaxrecon.agents.ppo_config import PPOConfig, PPOParams

__all__ = [
    "HEADS",
    "ArchitectureError",
    "AugmentConfig",
    "CameraPolicy",
    "CheckpointError",
    "Clips",
    "ClosedLoopReport",
    "Environment",
    "Film",
    "ImitationConfig",
    "ImitationParams",
    "NonFiniteError",
    "PPOConfig",
    "PPOParams",
    "Policy",
    "PolicyConfig",
    "PolicyOutput",
    "TrainingCheckpoints",
    "compare",
    "create_policy",
    "draw_clips",
    "evaluate",
    "imitate",
    "load_policy",
    "parameter_count",
    "policy_of",
    "policy_shape",
    "ppo",
    "save_policy",
]

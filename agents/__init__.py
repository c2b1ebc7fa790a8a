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
    CameraPolicy,
    Policy,
    create_policy,
    parameter_count,
    policy_of,
    policy_shape,
)
from jaxrecon.agents.optimise import InvalidBatchError, NonFiniteError
from jaxrecon.agents.outputs import HEADS, ContinuousOutput, PolicyOutput
from jaxrecon.agents.policy_config import (
    ConvolutionalConfig,
    PolicyConfig,
    ResidualConfig,
    TransformerConfig,
    policy_config,
)
from jaxrecon.agents.ppo_config import PPOConfig, PPOParams
from jaxrecon.agents.shown import DemonstrationError
from jaxrecon.agents.validation import DrivingCost

__all__ = [
    "HEADS",
    "ArchitectureError",
    "AugmentConfig",
    "CameraPolicy",
    "CheckpointError",
    "Clips",
    "ClosedLoopReport",
    "ContinuousOutput",
    "ConvolutionalConfig",
    "DemonstrationError",
    "DrivingCost",
    "Environment",
    "Film",
    "ImitationConfig",
    "ImitationParams",
    "InvalidBatchError",
    "NonFiniteError",
    "PPOConfig",
    "PPOParams",
    "Policy",
    "PolicyConfig",
    "PolicyOutput",
    "ResidualConfig",
    "TrainingCheckpoints",
    "TransformerConfig",
    "compare",
    "create_policy",
    "draw_clips",
    "evaluate",
    "imitate",
    "load_policy",
    "parameter_count",
    "policy_config",
    "policy_of",
    "policy_shape",
    "ppo",
    "save_policy",
]

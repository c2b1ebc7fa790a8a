"""The environment: worlds, batched steps with rendering, RAD's events, demonstrations."""

from jaxrecon.metrics.closed_loop import EVENTS, Trace
from jaxrecon.simulator.branches import branch, load_state, save_state
from jaxrecon.simulator.cameras import (
    POLICY_RENDER,
    CameraSource,
    Drawing,
    SplatCameras,
    exact_cameras,
    join_cameras,
    policy_cameras,
)
from jaxrecon.simulator.config import SimulatorConfig, default_params
from jaxrecon.simulator.costs import Costs, CostScales, rollout_costs
from jaxrecon.simulator.demonstrations import Demonstrations, demonstrations, recorded_frames
from jaxrecon.simulator.field_of_view import with_field_of_view
from jaxrecon.simulator.history import FrameHistory, begin_history, extend_history, history_rows
from jaxrecon.simulator.recorded import expert_action, expert_displacement, recorded_rollout
from jaxrecon.simulator.reference import Reference, build_reference
from jaxrecon.simulator.rewards import ALL_TERMS, RAD_TERMS, RewardWeights, reward_weights, rewards
from jaxrecon.simulator.rigs import CameraRig, no_cameras, policy_rig
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.situation import Situation
from jaxrecon.simulator.state import (
    COMMANDS,
    Moment,
    Observation,
    Perturbation,
    Rollout,
    SimulatorParams,
    Start,
    State,
    StepResult,
)
from jaxrecon.simulator.world import World, build_world, join_worlds

__all__ = [
    "ALL_TERMS",
    "COMMANDS",
    "EVENTS",
    "POLICY_RENDER",
    "RAD_TERMS",
    "CameraRig",
    "CameraSource",
    "CostScales",
    "Costs",
    "Demonstrations",
    "Drawing",
    "FrameHistory",
    "Moment",
    "Observation",
    "Perturbation",
    "Reference",
    "RewardWeights",
    "Rollout",
    "Simulator",
    "SimulatorConfig",
    "SimulatorParams",
    "Situation",
    "SplatCameras",
    "Start",
    "State",
    "StepResult",
    "Trace",
    "World",
    "begin_history",
    "branch",
    "build_reference",
    "build_world",
    "default_params",
    "demonstrations",
    "exact_cameras",
    "expert_action",
    "expert_displacement",
    "extend_history",
    "history_rows",
    "join_cameras",
    "join_worlds",
    "load_state",
    "no_cameras",
    "policy_cameras",
    "policy_rig",
    "recorded_frames",
    "recorded_rollout",
    "reward_weights",
    "rewards",
    "rollout_costs",
    "save_state",
    "with_field_of_view",
]

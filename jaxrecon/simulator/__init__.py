"""The environment: worlds, batched steps with rendering, RAD's events, demonstrations."""

from jaxrecon.metrics.closed_loop import EVENTS, Trace
from jaxrecon.simulator.cameras import CameraRig, CameraSource, Drawing, SplatCameras, no_cameras, policy_rig
from jaxrecon.simulator.demonstrations import Demonstrations, demonstrations, recorded_frames
from jaxrecon.simulator.recorded import expert_action, expert_displacement, recorded_rollout
from jaxrecon.simulator.reference import Reference, build_reference
from jaxrecon.simulator.simulator import Simulator, SimulatorConfig, default_params
from jaxrecon.simulator.state import (
    COMMANDS,
    Observation,
    Perturbation,
    Rollout,
    SimulatorParams,
    State,
    StepResult,
)
from jaxrecon.simulator.world import World, build_world

__all__ = [
    "COMMANDS",
    "EVENTS",
    "CameraRig",
    "CameraSource",
    "Demonstrations",
    "Drawing",
    "Observation",
    "Perturbation",
    "Reference",
    "Rollout",
    "Simulator",
    "SimulatorConfig",
    "SimulatorParams",
    "SplatCameras",
    "State",
    "StepResult",
    "Trace",
    "World",
    "build_reference",
    "build_world",
    "default_params",
    "demonstrations",
    "expert_action",
    "expert_displacement",
    "no_cameras",
    "policy_rig",
    "recorded_frames",
    "recorded_rollout",
]

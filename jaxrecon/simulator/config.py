"""Structure of an environment, and the values that may be swept within it."""

import dataclasses

import jax.numpy as jnp

from jaxrecon.dynamics import DEFAULT_LIMITS, VehicleLimits
from jaxrecon.simulator.rewards import RAD_TERMS, RewardWeights, Terms, reward_weights
from jaxrecon.simulator.state import SimulatorParams

ACTIONS = ("anchors", "continuous")


@dataclasses.dataclass(frozen=True)
class SimulatorConfig:
    """Structure of an environment.

    Attributes:
        action: "anchors" (lateral and longitudinal index, see ``dynamics.anchors``) or "continuous" (acceleration m/s2
            and steering rad).
        clip_seconds: length of a clip that nothing ends.
        look_ahead: distance along the route to its target, metres.
        limits: what the car can do.
        render: whether steps draw frames unless told otherwise.
        terms: of the reward, by name, see ``rewards``; RAD's four events by default.
    """

    action: str = "anchors"
    clip_seconds: float = 8.0
    look_ahead: float = 30.0
    limits: VehicleLimits = DEFAULT_LIMITS
    render: bool = True
    terms: Terms = RAD_TERMS

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"SimulatorConfig.action is {self.action!r}; expected one of {ACTIONS}")
        for name in ("clip_seconds", "look_ahead"):
            if not getattr(self, name) > 0:
                raise ValueError(f"SimulatorConfig.{name} is {getattr(self, name)}; expected a positive number")


def default_params(
    rewards: RewardWeights | None = None,
    position_threshold: float = 2.0,
    heading_threshold_deg: float = 40.0,
    start_lateral: float = 0.3,
    start_heading: float = 0.03,
    start_speed: float = 0.1,
    unsupported_threshold: float = 2.0,
) -> SimulatorParams:
    """RAD's rewards and thresholds, with small start perturbations; units as in ``SimulatorParams``, but degrees.

    No share of unsupported pixels ends a clip unless a threshold below 1 is given.
    """
    return SimulatorParams(
        rewards=reward_weights() if rewards is None else rewards,
        position_threshold=jnp.asarray(position_threshold, jnp.float32),
        heading_threshold=jnp.deg2rad(jnp.asarray(heading_threshold_deg, jnp.float32)),
        start_lateral=jnp.asarray(start_lateral, jnp.float32),
        start_heading=jnp.asarray(start_heading, jnp.float32),
        start_speed=jnp.asarray(start_speed, jnp.float32),
        unsupported_threshold=jnp.asarray(unsupported_threshold, jnp.float32),
    )

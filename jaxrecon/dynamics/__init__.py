"""How vehicles move: the kinematic bicycle, its inverse, and the discrete action anchors."""

from jaxrecon.dynamics.anchors import HORIZON, LATERAL, LONGITUDINAL, aim, feasible, nearest, to_control
from jaxrecon.dynamics.bicycle import (
    DEFAULT_LIMITS,
    VehicleLimits,
    VehicleState,
    curvature,
    inverse,
    step,
    travel,
    yaw_rate,
)
from jaxrecon.dynamics.recovery import recover

__all__ = [
    "DEFAULT_LIMITS",
    "HORIZON",
    "LATERAL",
    "LONGITUDINAL",
    "VehicleLimits",
    "VehicleState",
    "aim",
    "curvature",
    "feasible",
    "inverse",
    "nearest",
    "recover",
    "step",
    "to_control",
    "travel",
    "yaw_rate",
]

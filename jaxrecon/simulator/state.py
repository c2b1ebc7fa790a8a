"""What the simulator carries from step to step, what it shows an agent, and what it says about a step."""

import flax.struct
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from jaxrecon.dynamics import VehicleState
from jaxrecon.metrics.closed_loop import Trace

COMMANDS = ("follow", "left", "right", "straight")


@flax.struct.dataclass
class Observation:
    """What a policy sees.

    Attributes:
        frames: (env, camera, height, width, 3) uint8, sRGB; zeros where nothing was drawn.
        ego: (env, 4) speed m/s, acceleration m/s2, steering rad, yaw rate rad/s.
        navigation: (env, 6) one-hot command in the order of ``COMMANDS``, then the route target (x, y), metres in the
            ego frame.
    """

    frames: UInt8[Array, "env camera height width 3"]
    ego: Float[Array, "env 4"]
    navigation: Float[Array, "env 6"]


@flax.struct.dataclass
class State:
    """Everything that the next step depends on; every field has the axis ``env``.

    Attributes:
        vehicle: the ego.
        route: (env,) arc length on the expert's path of the point nearest the ego, metres.
        start_route: (env,) the same where the clip started.
        start_frame: (env,) int32, log frame where the clip started.
        elapsed: (env,) int32, steps since then.
        done: (env,) bool, the clip has ended: the next step starts another one or, without auto-reset, does nothing.
        key: (env,) each environment's own random key; never changes.
        episode: (env,) int32, how many clips this environment has started before.
        unperturbed: (env,) bool, the drawn start broke a rule or hit something, so the recorded pose was taken.
        corrected_actions: (env,) int32, how many actions were not finite, or no anchor's index, and were replaced.
    """

    vehicle: VehicleState
    route: Float[Array, " env"]
    start_route: Float[Array, " env"]
    start_frame: Int[Array, " env"]
    elapsed: Int[Array, " env"]
    done: Bool[Array, " env"]
    key: Key[Array, " env"]
    episode: Int[Array, " env"]
    unperturbed: Bool[Array, " env"]
    corrected_actions: Int[Array, " env"]


@flax.struct.dataclass
class StepResult:
    """What a step brought about; every field has the axis ``env``.

    Attributes:
        observation: after the step; of an ending step the last of its clip.
        reward: (env, 4) in the order of ``EVENTS``: minus the event's weight where it happened.
        events: (env, 4) bool, in the order of ``EVENTS``.
        terminated: (env,) bool, an event ended the clip.
        truncated: (env,) bool, the clip or the log ended first.
        valid: (env,) bool, false where the step started a clip, or stayed in an ended one, and the action did nothing.
        trace: what metrics need.
        overflow: (env,) bool, some camera lacks splats because the renderer's capacity was too small.
    """

    observation: Observation
    reward: Float[Array, "env 4"]
    events: Bool[Array, "env 4"]
    terminated: Bool[Array, " env"]
    truncated: Bool[Array, " env"]
    valid: Bool[Array, " env"]
    trace: Trace
    overflow: Bool[Array, " env"]


@flax.struct.dataclass
class Rollout:
    """Steps without their observations, the axes (step, env) in front: the input of the metrics.

    Attributes:
        trace: what happened.
        events: (step, env, 4) bool.
        valid: (step, env) bool.
        terminated: (step, env) bool.
        truncated: (step, env) bool.
    """

    trace: Trace
    events: Bool[Array, "step env 4"]
    valid: Bool[Array, "step env"]
    terminated: Bool[Array, "step env"]
    truncated: Bool[Array, "step env"]


@flax.struct.dataclass
class SimulatorParams:
    """Values that may be swept or scheduled without a new compilation.

    Attributes:
        event_weights: (4,) penalty of each event, in the order of ``EVENTS``.
        position_threshold: metres from the expert's path.
        heading_threshold: radians from the expert's heading.
        start_lateral: standard deviation of the start's offset to the left, metres.
        start_heading: standard deviation of the start's heading error, radians.
        start_speed: standard deviation of the factor on the start's speed.
    """

    event_weights: Float[Array, " 4"]
    position_threshold: Float[Array, ""]
    heading_threshold: Float[Array, ""]
    start_lateral: Float[Array, ""]
    start_heading: Float[Array, ""]
    start_speed: Float[Array, ""]


@flax.struct.dataclass
class Perturbation:
    """How a start departs from the recorded pose; every field is (env,).

    Attributes:
        lateral: metres to the left.
        heading: radians, left positive.
        speed: factor on the recorded speed.
    """

    lateral: Float[Array, " env"]
    heading: Float[Array, " env"]
    speed: Float[Array, " env"]

"""What the simulator carries from step to step, what it shows an agent, and what it says about a step."""

import flax.struct
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.polylines import Projection
from jaxrecon.metrics.closed_loop import Trace
from jaxrecon.metrics.surroundings import Surroundings
from jaxrecon.simulator.rewards import RewardWeights
from jaxrecon.simulator.situation import Situation
from jaxrecon.traffic.cast import Cast

COMMANDS = ("follow", "left", "right", "straight")


@flax.struct.dataclass
class Observation:
    """What a policy sees.

    Attributes:
        frames: (env, camera, height, width, 3) uint8, sRGB; zeros where nothing was drawn. Where only some environments
            were drawn, the first axis is theirs, of what is drawn alike.
        ego: (env, 4) speed m/s, acceleration m/s2, steering rad, yaw rate rad/s.
        navigation: (env, 6) one-hot command in the order of ``COMMANDS``, then the route target (x, y), metres in the
            ego frame.
        depth: (env, camera, height, width) expected z-depth, metres; None unless the source draws it.
        confidence: (env, camera, rows, columns) in [0, 1], how well recorded views support what is shown, coarser than
            the frames; None where the source cannot tell.
        unsupported: (env, camera) share of an image's pixels that no recorded view supports; None likewise.
    """

    frames: UInt8[Array, "env camera height width 3"]
    ego: Float[Array, "env 4"]
    navigation: Float[Array, "env 6"]
    depth: Float[Array, "env camera height width"] | None = None
    confidence: Float[Array, "env camera rows columns"] | None = None
    unsupported: Float[Array, "env camera"] | None = None


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


@flax.struct.dataclass
class Start:
    """Where clips start; every field has the axis ``env``.

    Attributes:
        scene: (env,) int32.
        frame: (env,) int32, log frame.
        perturbation: departure from the pose recorded there.
    """

    scene: Int[Array, " env"]
    frame: Int[Array, " env"]
    perturbation: Perturbation


@flax.struct.dataclass
class Moment:
    """Where an environment is in its scene, its drive and its log; fields share their batch dimensions.

    Attributes:
        scene: int32.
        frame: int32, log frame, for the actors.
        vehicle: the ego.
        projection: the ego's nearest point of the expert's path.
        cast: who departs from the log; None: nobody.
    """

    scene: Int[Array, " *b"]
    frame: Int[Array, " *b"]
    vehicle: VehicleState
    projection: Projection
    cast: Cast | None = None


@flax.struct.dataclass
class State:
    """Everything that the next step depends on; every field has the axis ``env``.

    Attributes:
        scene: (env,) int32, which of the world's scenes the clip is in.
        vehicle: the ego.
        route: (env,) arc length on the expert's path of the point nearest the ego, metres.
        start_route: (env,) the same where the clip started.
        start_frame: (env,) int32, log frame where the clip started.
        elapsed: (env,) int32, steps since then.
        done: (env,) bool, the clip has ended: the next step starts another one or, without auto-reset, does nothing.
        key: (env,) each environment's own random key; never changes.
        episode: (env,) int32, how many clips this environment has started before.
        unperturbed: (env,) bool, the drawn start broke a rule or hit something, so the recorded pose was taken.
        corrected_actions: (env,) int32, how many actions were not finite, or no anchor's index, and were clamped.
        cast: who departs from the log; None in a simulator without challenges.
    """

    scene: Int[Array, " env"]
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
    cast: Cast | None = None


@flax.struct.dataclass
class StepResult:
    """What a step brought about; every field has the axis ``env``.

    Attributes:
        observation: after the step; of an ending step the last of its clip.
        reward: (env, term) weighted terms in the order of ``SimulatorConfig.terms``; zero where not ``valid``.
        situation: all that a reward may ask about the step.
        terminated: (env,) bool, an event ended the clip.
        truncated: (env,) bool, the clip or the log ended first, or too little of what is shown was ever recorded.
        valid: (env,) bool, false where the step started a clip, or stayed in an ended one, and the action did nothing.
        overflow: (env,) bool, some camera lacks splats because the renderer's capacity was too small.
    """

    observation: Observation
    reward: Float[Array, "env term"]
    situation: Situation
    terminated: Bool[Array, " env"]
    truncated: Bool[Array, " env"]
    valid: Bool[Array, " env"]
    overflow: Bool[Array, " env"]

    @property
    def events(self) -> Bool[Array, "env 4"]:
        """RAD's, in the order of ``EVENTS``; none where not ``valid``."""
        return self.situation.events

    @property
    def trace(self) -> Trace:
        """The ride."""
        return self.situation.trace

    @property
    def outcome(self) -> "Rollout":
        """What metrics need of the step."""
        return Rollout(
            trace=self.trace,
            events=self.events,
            valid=self.valid,
            terminated=self.terminated,
            truncated=self.truncated,
            surroundings=self.situation.surroundings,
        )


@flax.struct.dataclass
class Rollout:
    """Steps without their observations, the axes (step, env) in front: the input of the metrics.

    Attributes:
        trace: what happened.
        events: (step, env, 4) bool.
        valid: (step, env) bool.
        terminated: (step, env) bool.
        truncated: (step, env) bool.
        surroundings: others, road and lights, for the neighbours' metrics.
    """

    trace: Trace
    events: Bool[Array, "step env 4"]
    valid: Bool[Array, "step env"]
    terminated: Bool[Array, "step env"]
    truncated: Bool[Array, "step env"]
    surroundings: Surroundings


@flax.struct.dataclass
class SimulatorParams:
    """Values that may be swept or scheduled without a new compilation.

    Attributes:
        rewards: how much each term of the reward counts, see ``rewards.reward_weights``.
        position_threshold: metres from the expert's path.
        heading_threshold: radians from the expert's heading.
        start_lateral: standard deviation of the start's offset to the left, metres.
        start_heading: standard deviation of the start's heading error, radians.
        start_speed: standard deviation of the factor on the start's speed.
        scene_weights: (scene,) how often clips start in each, up to a factor; None: equally often.
        unsupported_threshold: share of unsupported pixels, the mean over the cameras, above which a clip is truncated.
        case_share: share of clips in which a challenge is played, in a simulator that has any.
        case_weights: (case,) how often each is, up to a factor; None: equally often.
    """

    rewards: RewardWeights
    position_threshold: Float[Array, ""]
    heading_threshold: Float[Array, ""]
    start_lateral: Float[Array, ""]
    start_heading: Float[Array, ""]
    start_speed: Float[Array, ""]
    scene_weights: Float[Array, " scene"] | None = None
    unsupported_threshold: Float[Array, ""] | float = 2.0
    case_share: Float[Array, ""] | float = 1.0
    case_weights: Float[Array, " case"] | None = None

"""The environment: reset and step over a batch of environments, rendering included."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, Shaped

from jaxrecon.dynamics import DEFAULT_LIMITS, VehicleLimits, VehicleState, step, to_control, yaw_rate
from jaxrecon.geometry.polylines import Projection
from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.metrics.closed_loop import Trace
from jaxrecon.simulator.observation import observe
from jaxrecon.simulator.starts import assess, draw_start, perturbed, place, select, start_mask
from jaxrecon.simulator.state import Observation, Perturbation, SimulatorParams, State, StepResult
from jaxrecon.simulator.world import World

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
    """

    action: str = "anchors"
    clip_seconds: float = 8.0
    look_ahead: float = 30.0
    limits: VehicleLimits = DEFAULT_LIMITS
    render: bool = True

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"SimulatorConfig.action is {self.action!r}; expected one of {ACTIONS}")
        for name in ("clip_seconds", "look_ahead"):
            if not getattr(self, name) > 0:
                raise ValueError(f"SimulatorConfig.{name} is {getattr(self, name)}; expected a positive number")


def default_params(
    event_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    position_threshold: float = 2.0,
    heading_threshold_deg: float = 40.0,
    start_lateral: float = 0.3,
    start_heading: float = 0.03,
    start_speed: float = 0.1,
) -> SimulatorParams:
    """RAD's events and thresholds, with small start perturbations; units as in ``SimulatorParams``, but degrees."""
    return SimulatorParams(
        event_weights=jnp.asarray(event_weights, jnp.float32),
        position_threshold=jnp.asarray(position_threshold, jnp.float32),
        heading_threshold=jnp.deg2rad(jnp.asarray(heading_threshold_deg, jnp.float32)),
        start_lateral=jnp.asarray(start_lateral, jnp.float32),
        start_heading=jnp.asarray(start_heading, jnp.float32),
        start_speed=jnp.asarray(start_speed, jnp.float32),
    )


@flax.struct.dataclass
class Simulator:
    """A batch of environments in one world.

    Itself a pytree: pass it to jitted functions as an argument, so that the world is no constant of the program:
    ``jax.jit(Simulator.step, static_argnames=("draw", "auto_reset"))(simulator, state, action, params)``.

    Attributes:
        world: where to drive.
        config: structure.
    """

    world: World
    config: SimulatorConfig = flax.struct.field(pytree_node=False, default=SimulatorConfig())

    @property
    def clip_steps(self) -> int:
        """Steps of a clip that nothing ends and that the log has room for."""
        return max(1, round(self.config.clip_seconds / self.world.dt))

    @property
    def start_frames(self) -> Bool[Array, " frame"]:
        """Log frames at which clips start, for choosing the clips of an evaluation."""
        return start_mask(self.world, self.clip_steps)

    def reset(
        self, key: PRNGKeyArray, environments: int, params: SimulatorParams, draw: bool | None = None
    ) -> tuple[State, Observation]:
        """Start a clip in every environment, at random.

        Args:
            key: determines every start of every environment from now on.
            environments: how many.
            params: start distribution and thresholds.
            draw: whether to draw frames; the configuration says by default.
        """
        keys = jax.random.split(key, environments)
        episode = jnp.zeros(environments, jnp.int32)
        frame, perturbation = draw_start(self.world, _episode_keys(keys, episode), params, self.clip_steps)
        return self._begin(keys, frame, perturbation, params, draw)

    def reset_at(
        self,
        key: PRNGKeyArray,
        start_frames: Int[Array, " env"],
        perturbation: Perturbation | None,
        params: SimulatorParams,
        draw: bool | None = None,
    ) -> tuple[State, Observation]:
        """Start given clips, one an environment: for paired evaluation, with ``step(..., auto_reset=False)``.

        Args:
            key: determines what happens after these clips, if the environments reset at all.
            start_frames: log frames.
            perturbation: departures from the recorded poses; None starts at them. One that collides or breaks a
                threshold is dropped, and ``State.unperturbed`` says so.
            params: thresholds.
            draw: whether to draw frames; the configuration says by default.
        """
        keys = jax.random.split(key, start_frames.shape[0])
        if perturbation is None:
            zeros = jnp.zeros(start_frames.shape[0])
            perturbation = Perturbation(lateral=zeros, heading=zeros, speed=zeros + 1.0)
        return self._begin(keys, start_frames.astype(jnp.int32), perturbation, params, draw)

    def step(
        self,
        state: State,
        action: Shaped[Array, "env 2"],
        params: SimulatorParams,
        draw: bool | None = None,
        auto_reset: bool = True,
    ) -> tuple[State, StepResult]:
        """Drive one step in every environment.

        A clip's last step returns that clip's last observation. The call after it starts another clip: it ignores the
        action and its result is marked ``valid`` False, so that nothing is drawn twice. Without ``auto_reset`` an
        ended clip stays as it is and its results are marked ``valid`` False.

        Args:
            state: of all environments.
            action: anchor indices (lateral, longitudinal), or (acceleration m/s2, steering rad), as configured. Indices
                outside the anchors and values that are not finite are replaced and counted in the state.
            params: weights, thresholds and start distribution.
            draw: whether to draw frames; the configuration says by default.
            auto_reset: whether an ended clip is followed by another.
        """
        driven, valid = self._drive(state, action), ~state.done
        state = select(state.done, self._proposed(state, params) if auto_reset else state, driven)
        projection, hits = assess(self.world, state.vehicle, state.route, self._frame(state), params)
        if auto_reset:
            state, projection = self._settle(state, projection, ~valid, jnp.any(hits, axis=-1))
        else:
            state = dataclasses.replace(state, route=projection.arc)
        events = hits & valid[:, None]
        terminated = jnp.any(events, axis=-1)
        last = (state.elapsed >= self.clip_steps) | (self._frame(state) >= self.world.frames - 1)
        truncated = valid & last & ~terminated
        state = dataclasses.replace(state, done=terminated | truncated | state.done)
        observation, overflow = self._observe(state, draw)
        result = StepResult(
            observation=observation,
            reward=-params.event_weights * events,
            events=events,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            trace=trace_of(self.world, state.vehicle, projection, state.start_route, state.start_frame, state.elapsed),
            overflow=overflow,
        )
        return state, result

    def _begin(
        self, keys: Array, frame: Array, perturbation: Perturbation, params: SimulatorParams, draw: bool | None
    ) -> tuple[State, Observation]:
        vehicle, route, unperturbed = place(self.world, frame, perturbation, params, self.config.limits)
        none = jnp.zeros(frame.shape, jnp.int32)
        state = State(
            vehicle=vehicle,
            route=route,
            start_route=route,
            start_frame=frame,
            elapsed=none,
            done=jnp.zeros(frame.shape, bool),
            key=keys,
            episode=none,
            unperturbed=unperturbed,
            corrected_actions=none,
        )
        return state, self._observe(state, draw)[0]

    def _proposed(self, state: State, params: SimulatorParams) -> State:
        """Every environment at the start of its next clip, which may yet turn out to be a bad one."""
        episode = state.episode + 1
        frame, perturbation = draw_start(self.world, _episode_keys(state.key, episode), params, self.clip_steps)
        return dataclasses.replace(
            state,
            vehicle=perturbed(self.world, frame, perturbation, self.config.limits),
            route=self.world.reference.route[frame],
            start_frame=frame,
            elapsed=jnp.zeros_like(state.elapsed),
            done=jnp.zeros_like(state.done),
            episode=episode,
        )

    def _settle(self, state: State, projection: Projection, started: Array, hit: Array) -> tuple[State, Projection]:
        """Take the projections as places on the route, and the recorded pose where a clip would start in an event."""
        reference, refused = self.world.reference, started & hit
        recorded = reference.motion_at(state.start_frame)
        projection = select(refused, reference.recorded_projection(state.start_frame), projection)
        state = dataclasses.replace(
            state,
            vehicle=select(refused, recorded, state.vehicle),
            route=projection.arc,
            start_route=jnp.where(started, projection.arc, state.start_route),
            unperturbed=jnp.where(started, refused, state.unperturbed),
        )
        return state, projection

    def _drive(self, state: State, action: Array) -> State:
        """Every environment one step on."""
        acceleration, steering, corrected = decode(action, state.vehicle, self.world.vehicle.wheelbase, self.config)
        vehicle = step(
            state.vehicle, acceleration, steering, self.world.dt, self.world.vehicle.wheelbase, self.config.limits
        )
        return dataclasses.replace(
            state,
            vehicle=vehicle,
            elapsed=state.elapsed + 1,
            corrected_actions=state.corrected_actions + corrected,
        )

    def _observe(self, state: State, draw: bool | None) -> tuple[Observation, Array]:
        draw = self.config.render if draw is None else draw
        return observe(self.world, state.vehicle, state.route, self._frame(state), self.config.look_ahead, draw)

    def _frame(self, state: State) -> Array:
        return state.start_frame + state.elapsed


def decode(
    action: Shaped[Array, "env 2"], vehicle: VehicleState, wheelbase: float, config: SimulatorConfig
) -> tuple[Float[Array, " env"], Float[Array, " env"], Bool[Array, " env"]]:
    """Acceleration (m/s2) and steering (rad) of an action, and whether it had to be corrected.

    Raises:
        ValueError: if the action's type is not that of the configured kind.
    """
    integer = jnp.issubdtype(action.dtype, jnp.integer)
    if integer != (config.action == "anchors"):
        expected = "integer anchor indices" if config.action == "anchors" else "floating-point values"
        raise ValueError(f"action has dtype {action.dtype} but SimulatorConfig.action is {config.action!r}: {expected}")
    if integer:
        within = jnp.clip(action, 0, 60)
        controls = to_control(within[:, 0], within[:, 1], vehicle, wheelbase, config.limits)
        return *controls, jnp.any(within != action, axis=-1)
    finite = jnp.isfinite(action)
    within = jnp.where(finite, action, 0.0)
    return within[:, 0], within[:, 1], ~jnp.all(finite, axis=-1)


def trace_of(
    world: World,
    vehicle: VehicleState,
    projection: Projection,
    start_route: Float[Array, "*b"],
    start_frame: Int[Array, "*b"],
    elapsed: Int[Array, "*b"],
) -> Trace:
    """What metrics need of a moment of a clip; ``projection`` is the ego's onto the expert's path."""
    reference = world.reference
    heading = reference.heading(projection.segment, projection.fraction)
    return Trace(
        position=vehicle.position,
        heading=vehicle.yaw,
        speed=vehicle.speed,
        acceleration=vehicle.acceleration,
        lateral_acceleration=vehicle.speed * yaw_rate(vehicle, world.vehicle.wheelbase),
        path_distance=projection.distance,
        path_heading_error=wrap_angle(vehicle.yaw - heading),
        progress=projection.arc - start_route,
        expert_progress=reference.route[start_frame + elapsed] - reference.route[start_frame],
        time=elapsed * world.dt,
    )


def _episode_keys(keys: Key[Array, " env"], episode: Int[Array, " env"]) -> Key[Array, " env"]:
    return jax.vmap(jax.random.fold_in)(keys, episode)

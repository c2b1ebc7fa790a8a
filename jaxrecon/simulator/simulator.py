"""The environment: reset and step over a batch of environments, rendering included."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, Shaped

from jaxrecon.dynamics import step
from jaxrecon.simulator.actions import decode
from jaxrecon.simulator.challenges import HARMLESS, Challenges, cast_step
from jaxrecon.simulator.config import SimulatorConfig
from jaxrecon.simulator.moments import events_of, moment_at, recorded_moment
from jaxrecon.simulator.observation import observe
from jaxrecon.simulator.outcomes import situation_of
from jaxrecon.simulator.rewards import rewards
from jaxrecon.simulator.starts import check_starts, draw_start, known, perturbed, select, start_mask, start_table
from jaxrecon.simulator.state import Moment, Observation, Perturbation, SimulatorParams, Start, State, StepResult
from jaxrecon.simulator.world import World
from jaxrecon.traffic.cast import Cast


@flax.struct.dataclass
class Simulator:
    """A batch of environments, each in one of a world's scenes.

    Itself a pytree: pass it to jitted functions as an argument, so that the world is no constant of the program:
    ``jax.jit(Simulator.step, static_argnames=("draw", "auto_reset"))(simulator, state, action, params)``.

    Attributes:
        world: where to drive.
        config: structure.
        challenges: corner cases that clips may be; None: the traffic is the log's.
    """

    world: World
    config: SimulatorConfig = flax.struct.field(pytree_node=False, default=SimulatorConfig())
    challenges: Challenges | None = None

    @property
    def clip_steps(self) -> int:
        """Steps of a clip that nothing ends and that the log has room for."""
        return max(1, round(self.config.clip_seconds / self.world.dt))

    @property
    def start_frames(self) -> Bool[Array, "scene frame"]:
        """Log frames at which clips start, for choosing the clips of an evaluation."""
        return start_mask(self.world, self.clip_steps)

    def draw_starts(self, keys: Key[Array, " env"], params: SimulatorParams) -> Start:
        """A start for each key, from the distribution that ``reset`` and the automatic one draw from."""
        return draw_start(start_table(self.world, self.clip_steps), keys, params)

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
        return self.reset_from(jax.random.split(key, environments), params, draw)

    def reset_from(
        self, keys: Key[Array, " env"], params: SimulatorParams, draw: bool | None = None
    ) -> tuple[State, Observation]:
        """The same for environments with given keys, each of which determines every start of its own."""
        start, case = self._draw(_episode_keys(keys, jnp.zeros(keys.shape[0], jnp.int32)), params)
        return self._begin(keys, start, case, params, draw)

    def reset_at(
        self,
        key: PRNGKeyArray,
        start_frames: Int[Array, " env"],
        perturbation: Perturbation | None,
        params: SimulatorParams,
        draw: bool | None = None,
        scenes: Int[Array, " env"] | None = None,
        cases: Int[Array, " env"] | None = None,
    ) -> tuple[State, Observation]:
        """Start given clips, one an environment: for paired evaluation, with ``step(..., auto_reset=False)``.

        Args:
            key: determines what happens after these clips, if the environments reset at all.
            start_frames: log frames.
            perturbation: departures from the recorded poses; None starts at them. One that collides or breaks a
                threshold is dropped, and ``State.unperturbed`` says so.
            params: thresholds.
            draw: whether to draw frames; the configuration says by default.
            scenes: of the clips; the first by default.
            cases: of ``challenges``, which must belong to these starts; none are played by default.

        Raises:
            ValueError: outside of jit, if a start is not in the world, or in a collision, or a case is not in the
                challenges, or starts elsewhere; if cases are given to a simulator without challenges.
        """
        frames = jnp.asarray(start_frames, jnp.int32)
        scenes = jnp.zeros_like(frames) if scenes is None else jnp.asarray(scenes, jnp.int32)
        if known(frames, scenes, self.world.start_allowed):
            check_starts(self.world, np.asarray(scenes), np.asarray(frames))
        if perturbation is None:
            zeros = jnp.zeros(frames.shape[0])
            perturbation = Perturbation(lateral=zeros, heading=zeros, speed=zeros + 1.0)
        if cases is not None and self.challenges is None:
            raise ValueError("reset_at got cases, but the simulator has no challenges; build it with their bank")
        keys = jax.random.split(key, frames.shape[0])
        cases = jnp.full_like(frames, HARMLESS) if cases is None else jnp.asarray(cases, jnp.int32)
        if self.challenges is not None and known(frames, scenes, cases, self.challenges.start.frame):
            self.challenges.check(np.asarray(scenes), np.asarray(frames), np.asarray(cases))
        return self._begin(keys, Start(scenes, frames, perturbation), cases, params, draw)

    def step(
        self,
        state: State,
        action: Shaped[Array, "env 2"],
        params: SimulatorParams,
        draw: bool | None = None,
        auto_reset: bool = True,
        drawn: Int[Array, " drawn"] | None = None,
    ) -> tuple[State, StepResult]:
        """Drive one step in every environment.

        A clip's last step returns that clip's last observation. The call after it starts another clip, in another scene
        and at another frame: it ignores the action and its result is marked ``valid`` False, so that nothing is drawn
        twice. Without ``auto_reset`` an ended clip stays as it is and its results are marked ``valid`` False.

        Args:
            state: of all environments.
            action: anchor indices (lateral, longitudinal), or (acceleration m/s2, steering rad), as configured. Indices
                outside the anchors and values that are not finite are clamped and counted in the state.
            params: weights, thresholds and start distribution.
            draw: whether to draw frames; the configuration says by default.
            auto_reset: whether an ended clip is followed by another.
            drawn: environments to draw, see ``observe``; all by default.

        Raises:
            ValueError: if only one of the simulator and the state has challenges.
        """
        before, driven, valid = state, self._drive(state, action), ~state.done
        state = select(state.done, self._proposed(state, params) if auto_reset else state, driven)
        moment = self.moment(state)
        hits = events_of(self.world, moment, params)
        if auto_reset:
            state, moment = self._settle(state, moment, ~valid, jnp.any(hits, axis=-1))
        else:
            state = dataclasses.replace(state, route=moment.projection.arc)
        observation, overflow = self._observe(moment, draw, drawn)
        events = hits & valid[:, None]
        terminated = jnp.any(events, axis=-1)
        last = (state.elapsed >= self.clip_steps) | (moment.frame >= self.world.frames[moment.scene] - 1)
        last |= _unsupported(observation, drawn, terminated.shape[0]) > params.unsupported_threshold
        truncated = valid & last & ~terminated
        state = dataclasses.replace(state, done=terminated | truncated | state.done)
        earlier = select(valid, before.vehicle, state.vehicle)
        progress = jnp.where(valid, state.route - before.route, 0.0)
        situation = situation_of(self.world, earlier, moment, state, events, progress, self.clip_steps)
        result = StepResult(
            observation=observation,
            reward=jnp.where(valid[:, None], rewards(situation, params.rewards, self.config.terms), 0.0),
            situation=situation,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            overflow=overflow,
        )
        return state, result

    def observe(
        self, state: State, draw: bool | None = None, drawn: Int[Array, " drawn"] | None = None
    ) -> tuple[Observation, Bool[Array, " env"]]:
        """What the environments show as they are, and which lack content: after steps that drew nothing, say.

        Args:
            state: of all environments.
            draw: whether to draw frames; the configuration says by default.
            drawn: environments to draw; all by default. Frames then have the axis ``drawn`` in front.
        """
        return self._observe(self.moment(state), draw, drawn)

    def _begin(
        self, keys: Array, start: Start, case: Array, params: SimulatorParams, draw: bool | None
    ) -> tuple[State, Observation]:
        none = jnp.zeros(start.frame.shape, jnp.int32)
        flag = jnp.zeros(start.frame.shape, bool)
        state = self._placed(State(
            scene=start.scene,
            vehicle=self.world.reference.motion_at(start.scene, start.frame),
            route=jnp.zeros(start.frame.shape),
            start_route=jnp.zeros(start.frame.shape),
            start_frame=start.frame,
            elapsed=none,
            done=flag,
            key=keys,
            episode=none,
            unperturbed=flag,
            corrected_actions=none,
        ), start, case)  # fmt: skip
        moment = self.moment(state)
        hit = jnp.any(events_of(self.world, moment, params), axis=-1)
        state, moment = self._settle(state, moment, ~flag, hit)
        return state, self._observe(moment, draw, None)[0]

    def _proposed(self, state: State, params: SimulatorParams) -> State:
        """Every environment at the start of its next clip, which may yet turn out to be a bad one."""
        episode = state.episode + 1
        start, case = self._draw(_episode_keys(state.key, episode), params)
        return dataclasses.replace(self._placed(state, start, case), episode=episode)

    def _draw(self, keys: Key[Array, " env"], params: SimulatorParams) -> tuple[Start, Int[Array, " env"]]:
        """A start for each key, and the case that begins there."""
        start = self.draw_starts(keys, params)
        if self.challenges is None:
            return start, jnp.full(start.frame.shape, HARMLESS)
        case = self.challenges.draw(_episode_keys(keys, jnp.ones_like(start.frame)), params)
        begins = jax.tree.map(lambda leaf: leaf[jnp.maximum(case, 0)], self.challenges.start)
        return select(case != HARMLESS, begins, start), case

    def _placed(self, state: State, start: Start, case: Array) -> State:
        challenges = self.challenges
        return dataclasses.replace(
            state,
            scene=start.scene,
            vehicle=perturbed(self.world, start, self.config.limits),
            route=self.world.reference.route[start.scene, start.frame],
            start_frame=start.frame,
            elapsed=jnp.zeros_like(state.elapsed),
            done=jnp.zeros_like(state.done),
            cast=None if challenges is None else challenges.begin(self.world, case),
        )

    def _settle(self, state: State, moment: Moment, started: Array, hit: Array) -> tuple[State, Moment]:
        """Take the projections as places on the route, and the recorded pose where a clip would start in an event."""
        refused = started & hit
        recorded = recorded_moment(self.world, state.scene, state.start_frame)
        moment = select(refused, dataclasses.replace(recorded, cast=moment.cast), moment)
        arc = moment.projection.arc
        state = dataclasses.replace(
            state,
            vehicle=moment.vehicle,
            route=arc,
            start_route=jnp.where(started, arc, state.start_route),
            unperturbed=jnp.where(started, refused, state.unperturbed),
        )
        return state, moment

    def _drive(self, state: State, action: Array) -> State:
        """Every environment one step on."""
        wheelbase, limits = self.world.vehicle.wheelbase[state.scene], self.config.limits
        acceleration, steering, corrected = decode(action, state.vehicle, wheelbase, self.config)
        return dataclasses.replace(
            state,
            vehicle=step(state.vehicle, acceleration, steering, self.world.dt, wheelbase, limits),
            elapsed=state.elapsed + 1,
            corrected_actions=state.corrected_actions + corrected,
            cast=self.next_cast(state),
        )

    def next_cast(self, state: State) -> Cast | None:
        """Whoever departs from the log, one step on from a state; None without challenges.

        Raises:
            ValueError: if only one of the simulator and the state has challenges.
        """
        challenges, cast = self.challenges, state.cast
        if challenges is None and cast is None:
            return None
        if challenges is None or cast is None:
            have = ("no challenges", "a cast") if challenges is None else ("challenges", "no cast")
            raise ValueError(
                f"the simulator has {have[0]} and the state {have[1]}; step a state with the simulator that reset it, "
                "or with one that has the same challenges"
            )
        return cast_step(challenges.course, self.world, state, cast)

    def moment(self, state: State) -> Moment:
        """Where the environments are, and who is there beside the log."""
        frame = state.start_frame + state.elapsed
        moment = moment_at(self.world, state.scene, frame, state.vehicle, state.route)
        return dataclasses.replace(moment, cast=state.cast)

    def _observe(self, moment: Moment, draw: bool | None, drawn: Array | None) -> tuple[Observation, Array]:
        draw = self.config.render if draw is None else draw
        return observe(self.world, moment, self.config.look_ahead, draw, drawn)


def _episode_keys(keys: Key[Array, " env"], episode: Int[Array, " env"]) -> Key[Array, " env"]:
    return jax.vmap(jax.random.fold_in)(keys, episode)


def _unsupported(
    observation: Observation, drawn: Int[Array, " drawn"] | None, environments: int
) -> Float[Array, " env"]:
    """Share of an environment's pixels that no recorded view supports; zero where it was not drawn or is not known."""
    if observation.unsupported is None:
        return jnp.zeros(environments)
    share = jnp.mean(observation.unsupported, axis=-1)
    return share if drawn is None else jnp.zeros(environments).at[drawn].set(share)

"""The simulator as a ``brax.envs.Env``, and the reset and wrapping that go with it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.simulator.adapters.figures import (
    STATE_SIZE,
    check_shown,
    figure_names,
    figures,
    required,
    scalar_reward,
    state_vector,
)
from jaxrecon.simulator.config import default_params
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.state import Observation, SimulatorParams, State

REMEDY = "run `pip install 'brax>=0.14.2'`"
brax_base: Any = required("brax.envs.base", "brax", REMEDY)
brax_training: Any = required("brax.envs.wrappers.training", "brax", REMEDY)
Step = tuple[State, Any, Array, Array, dict[str, Array], dict[str, Array]]


class BraxEnv(brax_base.Env):
    """One environment, as brax sees it; under ``jax.vmap`` (brax's ``VmapWrapper``) all are stepped and drawn together.

    The simulator's state is ``pipeline_state``. Actions lie in [-1, 1] and are scaled to the car's limits:
    acceleration (braking below zero), steering. Observations are the state vector (see ``figures.state_vector``), or a
    dictionary of ``state`` and of ``pixels/<camera>``, float32 in [0, 1], as brax's vision networks take them.
    Metrics are those of ``figures.figures``. ``info`` holds ``time_out``, 1 where the clip or the log ended
    without an event, and ``valid``, 0 where a step started a clip and its action did nothing.

    The world is a constant of functions that are traced, as brax's systems are.

    Args:
        simulator: rules and world, with continuous actions.
        params: weights, thresholds and start distribution; the defaults by default.
        observation: "state", "frames" or "both".
        auto_reset: whether the step after a clip's last starts another clip; ``AutoReset`` needs it, and nothing else
            wants it: a clip that has ended stays as it is.

    Raises:
        ValueError: if the actions are not continuous, or the world cannot show what is asked for.
    """

    def __init__(
        self,
        simulator: Simulator,
        params: SimulatorParams | None = None,
        observation: str = "state",
        auto_reset: bool = False,
    ):
        check_shown(observation, simulator)
        if simulator.config.action != "continuous":
            raise ValueError(
                f"brax acts continuously but SimulatorConfig.action is {simulator.config.action!r}; "
                "make the simulator with SimulatorConfig(action='continuous')"
            )
        self.simulator, self.observation, self.auto_reset = simulator, observation, auto_reset
        self.params = default_params() if params is None else params
        self._reset, self._step = _of_one(self._reset_all), _of_one(self._step_all)

    def reset(self, rng: Array) -> Any:
        """Start a clip at random; a key of either kind, brax's wrappers need ``jax.random.PRNGKey``."""
        key = rng if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(rng)
        state, shown = self._reset(key)
        zero = jnp.zeros(())
        metrics = {name: zero for name in figure_names(self.simulator)}
        info = {"time_out": zero, "valid": jnp.ones(())}
        return brax_base.State(state, shown, zero, zero, metrics, info)

    def step(self, state: Any, action: Array) -> Any:
        """Drive one step."""
        pipeline, shown, reward, done, metrics, info = self._step(state.pipeline_state, action)
        return state.replace(
            pipeline_state=pipeline, obs=shown, reward=reward, done=done,
            metrics=state.metrics | metrics, info=state.info | info,
        )  # fmt: skip

    @property
    def observation_size(self) -> Any:
        """Of the vector; of a dictionary the shape of each entry."""
        if self.observation == "state":
            return STATE_SIZE
        rig = self.simulator.world.rig
        shapes = {name: (rig.height, rig.width, 3) for name in _pixel_names(self.simulator)}
        return shapes | ({"state": (STATE_SIZE,)} if self.observation == "both" else {})

    @property
    def action_size(self) -> int:
        """Acceleration and steering."""
        return 2

    @property
    def backend(self) -> str:
        """Whose physics these are."""
        return "jaxrecon"

    @property
    def dt(self) -> float:
        """Seconds of a step."""
        return self.simulator.world.dt

    @property
    def _draws(self) -> bool:
        return self.observation != "state"

    def _reset_all(self, keys: Array) -> tuple[State, Any]:
        state, observation = self.simulator.reset_from(keys, self.params, self._draws)
        return state, self._shown(observation)

    def _step_all(self, state: State, action: Float[Array, "env 2"]) -> Step:
        limits = self.simulator.config.limits
        reach = jnp.where(action[:, 0] < 0, limits.braking, limits.acceleration)
        scaled = jnp.stack([reach * action[:, 0], limits.steering * action[:, 1]], axis=-1)
        state, result = self.simulator.step(state, scaled, self.params, self._draws, self.auto_reset)
        info = {"time_out": result.truncated.astype(jnp.float32), "valid": result.valid.astype(jnp.float32)}
        done = (result.terminated | result.truncated).astype(jnp.float32)
        metrics = figures(self.simulator, result)
        return state, self._shown(result.observation), scalar_reward(result), done, metrics, info

    def _shown(self, observation: Observation) -> Any:
        if self.observation == "state":
            return state_vector(observation)
        shown = {
            name: observation.frames[:, number].astype(jnp.float32) / 255
            for number, name in enumerate(_pixel_names(self.simulator))
        }
        return shown | ({"state": state_vector(observation)} if self.observation == "both" else {})


class AutoReset(brax_training.Wrapper):
    """The simulator's own reset: the step after a clip's last starts another, in a newly drawn scene and start.

    Goes outermost, in place of brax's ``AutoResetWrapper``, which would replay the first start for ever. The step that
    starts a clip has no reward, its action did nothing, and its ``truncation`` is 1, by which brax's losses mask it;
    so is that of a clip's last step that no event ended, from which they bootstrap.

    Raises:
        ValueError: if the environment is not a ``BraxEnv`` that resets itself.
    """

    def __init__(self, env: Any):
        super().__init__(env)
        if not getattr(env.unwrapped, "auto_reset", False):
            raise ValueError(
                f"AutoReset got a {type(env.unwrapped).__name__} that starts no clips; expected a "
                "BraxEnv(..., auto_reset=True), see wrap"
            )

    def reset(self, rng: Array) -> Any:
        """Start a clip in every environment."""
        state = self.env.reset(rng)
        return state.replace(info={"truncation": jnp.zeros_like(state.done)} | state.info)

    def step(self, state: Any, action: Array) -> Any:
        """Drive one step, or start the next clip."""
        ended = state.done > 0
        # Another wrapper may have ended a clip that the simulator would have gone on with.
        pipeline = dataclasses.replace(state.pipeline_state, done=state.pipeline_state.done | ended)
        info = dict(state.info)
        if "steps" in info:
            info["steps"] = jnp.where(ended, -1.0, info["steps"])  # the step that starts a clip is none of it
        state = self.env.step(state.replace(pipeline_state=pipeline, info=info), action)
        info = dict(state.info)
        masked = jnp.maximum(info["time_out"], 1 - info["valid"])
        own = info["truncation"] if "steps" in info else jnp.zeros_like(masked)
        return state.replace(info=info | {"truncation": jnp.maximum(own, masked)})


def wrap(
    env: BraxEnv, episode_length: int | None = None, action_repeat: int = 1, randomization_fn: Any = None
) -> AutoReset:
    """An environment wrapped for training, in place of ``brax.envs.training.wrap``.

    Args:
        env: one environment.
        episode_length: steps after which ``EpisodeWrapper`` ends a clip; by default as many as the clip has.
        action_repeat: must be 1: a step of the simulator is one of its log.
        randomization_fn: must be None: scenes and starts are drawn by the simulator.

    Raises:
        ValueError: for an option that the simulator has no use for.
    """
    if action_repeat != 1 or randomization_fn is not None:
        raise ValueError(
            f"wrap got action_repeat {action_repeat} and randomization_fn {randomization_fn}; expected 1 and None: "
            "the log sets the rate, SimulatorParams the distribution of starts"
        )
    length = env.simulator.clip_steps if episode_length is None else episode_length
    own = BraxEnv(env.simulator, env.params, env.observation, auto_reset=True)
    return AutoReset(brax_training.EpisodeWrapper(brax_training.VmapWrapper(own), length, action_repeat))


def _pixel_names(simulator: Simulator) -> list[str]:
    rig = simulator.world.rig
    return [f"pixels/{name}" for name in (rig.names or [str(number) for number in range(rig.count)])]


def _of_one(batched: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one environment from one of a batch, which it is again under ``vmap``: nothing is vmapped twice.

    The renderer draws a batch of cameras in one pass; a ``vmap`` over passes of one camera would be slow, and its
    kernels know no such thing.
    """

    @jax.custom_batching.custom_vmap
    def of_one(*arguments: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[0], batched(*jax.tree.map(lambda leaf: leaf[None], arguments)))

    @of_one.def_vmap
    def of_many(size: int, mapped: Any, *arguments: Any) -> tuple[Any, Any]:
        def spread(leaf: Array, is_mapped: bool) -> Array:
            return leaf if is_mapped else jnp.broadcast_to(leaf, (size, *leaf.shape))

        out = batched(*jax.tree.map(spread, arguments, tuple(mapped)))
        return out, jax.tree.map(lambda _: True, out)

    return of_one

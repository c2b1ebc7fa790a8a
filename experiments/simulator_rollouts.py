"""Random drives of the suite: timed, counted, and watched for what is not finite and for memory that is lost."""

import dataclasses
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from benchmark_timing import Timing, measure
from jaxtyping import Array
from rooms import start_at_random

from jaxrecon.simulator import Simulator, SimulatorParams, State, StepResult

GENTLE = (1.0, 0.02)  # standard deviations of acceleration and steering, by which clips last
BEYOND = 1.5  # times the car's limits up to which wild actions reach
SETTLE = 2  # calls after which the memory is first looked at


@flax.struct.dataclass
class Tally:
    """Sums over the steps of a rollout.

    Attributes:
        events: (4,) of RAD.
        off_road: steps.
        reward: all terms.
        valid: steps driven.
        overflow: steps whose images lack splats.
        shown: all that was observed, so that nothing of it is optimised away.
        broken: numbers of state, reward and observation that are not finite.
    """

    events: Array
    off_road: Array
    reward: Array
    valid: Array
    overflow: Array
    shown: Array
    broken: Array


def tally(state: State, result: StepResult, watch: bool) -> Tally:
    """Of one step; ``watch``: look for numbers that are not finite."""
    seen = result.observation
    shown = jnp.sum(seen.ego) + jnp.sum(seen.navigation) + jnp.sum(seen.frames, dtype=jnp.int32)
    leaves = jax.tree.leaves((dataclasses.replace(state, key=jnp.zeros(0)), result)) if watch else []
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return Tally(
        events=jnp.sum(result.events, axis=0),
        off_road=jnp.sum(result.situation.surroundings.off_road & result.valid),
        reward=jnp.sum(result.reward),
        valid=jnp.sum(result.valid),
        overflow=jnp.sum(result.overflow),
        shown=shown,
        broken=sum((jnp.sum(~jnp.isfinite(leaf)) for leaf in floats), jnp.zeros((), jnp.int32)),
    )


@partial(jax.jit, static_argnames=("steps", "draw", "wild"), donate_argnames=("state",))
def roll(
    simulator: Simulator, state: State, key: Array, params: SimulatorParams, steps: int, draw: bool, wild: bool = False
) -> tuple[State, Tally]:
    """Random steps of all environments, gently or, watched, up to beyond the car's limits."""
    shape, limits = (steps, state.scene.shape[0], 2), simulator.config.limits
    if wild:
        reach = BEYOND * jnp.asarray([limits.braking, limits.steering])
        actions = reach * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    else:
        actions = jax.random.normal(key, shape) * jnp.asarray(GENTLE)

    def step(state: State, action: Array) -> tuple[State, Tally]:
        state, result = simulator.step(state, action, params, draw=draw)
        return state, tally(state, result, wild)

    state, counted = jax.lax.scan(step, state, actions)
    return state, jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), counted)


@dataclasses.dataclass(frozen=True)
class Rolled:
    """A timed rollout.

    Attributes:
        timing: of a call.
        steps: of all environments in a call.
        counted: over all calls.
        calls: how many there were.
    """

    timing: Timing
    steps: int
    counted: Tally
    calls: int

    def speed(self, milliseconds: float) -> float:
        """Steps a second of a call that takes so long."""
        return 1e3 * self.steps / milliseconds

    @property
    def notes(self) -> dict[str, Any]:
        """What stands beside the speed."""
        driven = float(self.counted.valid)
        return {
            "valid_share": driven / (self.steps * self.calls),
            "events_per_1000_steps": 1e3 * float(jnp.sum(self.counted.events)) / driven,
            "off_road_share": float(self.counted.off_road) / driven,
            "steps_per_call": self.steps,
            "samples": self.timing.samples,
        }


def time_rollout(
    simulator: Simulator, params: SimulatorParams, environments: int, steps: int, draw: bool, repeats: int
) -> Rolled:
    """Gentle random drives, one call after the other, each from where the last one ended."""
    state, counted = start_at_random(simulator, params, environments), []
    key = jax.random.key(1)

    def call(number: int) -> Tally:
        nonlocal state
        state, one = roll(simulator, state, jax.random.fold_in(key, number), params, steps, draw)
        counted.append(one)
        return one

    timing = measure(call, jax.block_until_ready, repeats)
    summed = jax.tree.map(lambda *leaves: sum(leaves), *counted)
    return Rolled(timing, environments * steps, summed, len(counted))


@dataclasses.dataclass(frozen=True)
class Endured:
    """A long wild drive.

    Attributes:
        steps: of all environments.
        counted: over all of them.
        memory: bytes on the device after each call.
    """

    steps: int
    counted: Tally
    memory: tuple[int, ...]

    @property
    def growth(self) -> int:
        """Bytes by which the memory is larger at the end than once the first calls had settled."""
        return self.memory[-1] - self.memory[min(SETTLE, len(self.memory) - 1)]


def endure(
    simulator: Simulator, params: SimulatorParams, environments: int, steps: int, draw: bool, least: int
) -> Endured:
    """Wild random drives of at least so many steps in all."""
    state, memory = start_at_random(simulator, params, environments), []
    total = None
    calls = max(SETTLE + 2, -(-least // (environments * steps)))
    for number in range(calls):
        state, one = roll(simulator, state, jax.random.fold_in(jax.random.key(2), number), params, steps, draw, True)
        counted = jax.device_get(one)
        total = counted if total is None else jax.tree.map(lambda a, b: a + b, total, counted)
        del one
        memory.append(device_bytes())
    return Endured(calls * environments * steps, total, tuple(memory))


def device_bytes() -> int:
    """Bytes in use on the device; on a CPU, which does not count them, those of all arrays that are alive."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_in_use" in stats:
        return int(stats["bytes_in_use"])
    return sum(array.nbytes for array in jax.live_arrays())


def peak_gib(simulator: Simulator, params: SimulatorParams, environments: int, steps: int) -> dict[str, float]:
    """GiB that drawing so many environments takes: as compiled, and this process's peak after having done it."""
    state = start_at_random(simulator, params, environments)
    key = jax.random.key(1)
    compiled = roll.lower(simulator, state, key, params, steps, True).compile()
    analysis = compiled.memory_analysis()
    names = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes")
    static = sum(getattr(analysis, name, 0) for name in names) / 2**30
    _, counted = jax.block_until_ready(compiled(simulator, state, key, params))
    process = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30
    return {"peak_gib_compiled": static, "peak_gib_process": process, "overflow": float(counted.overflow)}

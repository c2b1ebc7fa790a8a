"""What every interface shows of the simulator: state vectors, one number of reward, figures by name."""

import importlib
from types import ModuleType

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.metrics.closed_loop import EVENTS
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.state import COMMANDS, Observation, StepResult

SHOWN = ("state", "frames", "both")
STATE_SIZE = 4 + len(COMMANDS) + 2  # ego motion, one-hot command, route target


def required(module: str, package: str, remedy: str) -> ModuleType:
    """A module of a package that an adapter is for.

    Raises:
        ImportError: if it cannot be imported, with the remedy.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this adapter needs the package {package}, which fails to import ({error}): {remedy}"
        ) from error


def check_shown(shown: str, simulator: Simulator) -> None:
    """Refuse what cannot be shown.

    Raises:
        ValueError: if ``shown`` is unknown, or frames are asked of a world without cameras.
    """
    if shown not in SHOWN:
        raise ValueError(f"observation is {shown!r}; expected one of {SHOWN}")
    if shown != "state" and simulator.world.source is None:
        raise ValueError(
            f"observation is {shown!r} but the world has no camera source; take 'state', or build the world with a "
            "source and a rig"
        )


def state_vector(observation: Observation) -> Float[Array, "env 10"]:
    """Speed, acceleration, steering, yaw rate; one-hot command; route target: units as in ``Observation``."""
    return jnp.concatenate([observation.ego, observation.navigation], axis=-1)


def scalar_reward(result: StepResult) -> Float[Array, " env"]:
    """The weighted sum over the reward's terms."""
    return jnp.sum(result.reward, axis=-1)


def figure_names(simulator: Simulator) -> tuple[str, ...]:
    """The names of ``figures``, without a step."""
    terms = (f"reward_{name}" for name, _ in simulator.config.terms)
    rules = ("overlap", "at_fault", "off_road", "wrong_way", "red_light")
    return (*EVENTS, *rules, "progress", "speed", "path_distance", "time_to_collision", "overflow", *terms)


def figures(simulator: Simulator, result: StepResult) -> dict[str, Float[Array, " env"]]:
    """Events, rules, the ride and the reward's terms by name, as numbers; all zero where a step is not ``valid``.

    Names of events are those of ``EVENTS``; those of terms begin with ``reward_``.
    """
    around, trace = result.situation.surroundings, result.trace
    terms = [result.reward[:, number] for number in range(result.reward.shape[1])]
    rules = [around.overlap, around.at_fault, around.off_road, around.wrong_way, around.red_light]
    ride = [result.situation.progress, trace.speed, trace.path_distance, around.time_to_collision, result.overflow]
    values = [*jnp.moveaxis(result.events, -1, 0), *rules, *ride, *terms]
    names = figure_names(simulator)
    return {
        name: jnp.where(result.valid, value.astype(jnp.float32), 0.0) for name, value in zip(names, values, strict=True)
    }

"""Corner cases for evaluation sets: sound ones drawn from a seed, written down by their numbers, and played again."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.agents.driving import Unseeing
from jaxrecon.agents.evaluation_sets import KINDS, Challenge, EvaluationSetError
from jaxrecon.simulator import Observation, Perturbation, Simulator, SimulatorParams, Start, State
from jaxrecon.simulator.casting import EARLIEST, LATEST, SEEN_SHARE, Casting, Draw, plan_of
from jaxrecon.simulator.challenges import Challenges
from jaxrecon.simulator.escapes import controls, nothing_done
from jaxrecon.simulator.judging import judge
from jaxrecon.traffic.adversary import no_plan
from jaxrecon.traffic.behaviours import BEHAVIOURS, NAMES, PARAMETERS, TESTS_ONLY, TRAINED

TRIES = 4  # cases that are proposed for a clip at once
LEAST = 64  # cases that are judged together at least, so that few shapes are compiled
DIGITS = 6  # of the numbers that are written down
PLACE = ("place_x", "place_y", "place_heading", "place_speed")
DETOUR = ("detour_begin", "detour_length", "detour_left")


@flax.struct.dataclass
class NonReacting(Unseeing):
    """Drives as was recorded, whatever happens."""

    def act(
        self, simulator: Simulator, state: State, observation: Observation, memory: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, "env 2"], Any]:
        """Recorded speed, on the recorded path."""
        idle = nothing_done(state.route.shape[0])
        return controls(simulator.world, state, idle, simulator.config.limits)[0], memory


@dataclasses.dataclass(frozen=True)
class AdversaryChallenger:
    """Makes corner cases of clips: an ``evaluation_draws.Challenger``.

    Attributes:
        casting: of the simulator whose clips they are.
        params: thresholds.
        kind: "corner_cases": trained behaviours, at least one parameter of each case in the part of its range that
            training leaves out; "unseen_behaviours": those kept for tests, anywhere in their ranges.
    """

    casting: Casting
    params: SimulatorParams
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS[1:]:
            raise EvaluationSetError(f"AdversaryChallenger.kind is {self.kind!r}; expected one of {KINDS[1:]}")

    def __call__(
        self,
        random: np.random.Generator,
        scene: Int[np.ndarray, " clip"],
        frame: Int[np.ndarray, " clip"],
        departure: Float[np.ndarray, "clip 3"],
    ) -> Sequence[Challenge | None]:
        """A sound challenge for each clip, of several that are proposed; None where none of them is."""
        clips = len(scene)
        room = 1 << int(max(LEAST, clips * TRIES) - 1).bit_length()
        # Rows beyond the clips' own repeat them, so that few shapes are compiled.
        row = np.arange(room) % clips
        drawn = self._draw(random, scene[row], frame[row], departure[row])
        plan = plan_of(self.casting, drawn, jax.random.key(int(random.integers(1 << 31))))
        judged = jax.device_get(judge(self.casting, drawn, plan, self.params))
        found: list[Challenge | None] = [None] * clips
        for case in np.flatnonzero(np.asarray(judged.sound)):
            if found[row[case]] is None:
                found[row[case]] = _told(judged.plan, judged.detour[case], int(frame[row[case]]), int(case))
        return found

    def _draw(self, random: np.random.Generator, scene: np.ndarray, frame: np.ndarray, departure: np.ndarray) -> Draw:
        count = len(scene)
        chosen = TRAINED if self.kind == KINDS[1] else TESTS_ONLY
        behaviour = random.choice(np.array(chosen), size=count)
        unit = random.uniform(size=(count, PARAMETERS))
        if self.kind == KINDS[1]:
            used = np.array([len(BEHAVIOURS[one].parameters) for one in behaviour])
            unit[np.arange(count), random.integers(used)] = random.uniform(SEEN_SHARE, 1.0, size=count)
        start = Start(
            jnp.asarray(scene, jnp.int32), jnp.asarray(frame, jnp.int32),
            Perturbation(*jnp.asarray(departure, jnp.float32).T),
        )  # fmt: skip
        return Draw(
            start=start,
            behaviour=jnp.asarray(behaviour[:, None], jnp.int32),
            unit=jnp.asarray(unit[:, None], jnp.float32),
            begin=jnp.asarray(random.integers(EARLIEST, LATEST, size=(count, 1)), jnp.int32),
            reactive=jnp.asarray(random.uniform(size=count) < 0.5),
            acts=jnp.ones((count, 1), bool),
        )


def _told(plan: Any, detour: np.ndarray, frame: int, case: int) -> Challenge:
    """A case by its numbers."""
    behaviour = BEHAVIOURS[int(plan.behaviour[case, 0])]
    numbers = {one.name: plan.parameters[case, 0, place] for place, one in enumerate(behaviour.parameters)}
    numbers |= {"reactive": plan.reactive[case, 0], "staged": plan.staged[case, 0]}
    if plan.staged[case, 0]:
        numbers |= dict(zip(PLACE, plan.place[case, 0], strict=True))
    if detour[2]:
        numbers |= dict(zip(DETOUR, detour, strict=True))
    rounded = {name: round(float(value), DIGITS) for name, value in numbers.items()}
    return Challenge(behaviour.name, int(plan.slot[case, 0]), frame + int(plan.begin[case, 0]), rounded)


def challenges_of(casting: Casting, starts: Start, challenges: Sequence[Challenge]) -> Challenges:
    """The bank in which the case of each number is the challenge of that number, to be played from these starts.

    Args:
        casting: of the simulator in which they are played.
        starts: where the clips start.
        challenges: one a clip.

    Raises:
        EvaluationSetError: for a behaviour, a parameter or an actor that there is not, one that begins before its clip,
            or as many starts as there are not challenges.
    """
    count, actors = len(challenges), casting.simulator.world.traffic.capacity
    if starts.frame.shape[0] != count:
        raise EvaluationSetError(f"{count} challenges came with {starts.frame.shape[0]} starts; expected one each")
    plan = jax.tree.map(np.array, jax.device_get(no_plan((count,), 1)))
    detour, first = np.zeros((count, 3), np.float32), np.asarray(starts.frame)
    for case, one in enumerate(challenges):
        if one.behaviour not in NAMES:
            raise EvaluationSetError(f"challenge {case} is {one.behaviour!r}; this version knows {NAMES}")
        number = NAMES.index(one.behaviour)
        named = dict(one.parameters)
        try:
            for place, parameter in enumerate(BEHAVIOURS[number].parameters):
                plan.parameters[case, 0, place] = named.pop(parameter.name)
            plan.reactive[case, 0], plan.staged[case, 0] = named.pop("reactive"), named.pop("staged")
        except KeyError as error:
            raise EvaluationSetError(f"challenge {case}, {one.behaviour}, lacks {error}; draw the set again") from error
        plan.place[case, 0] = [named.pop(name, 0.0) for name in PLACE]
        detour[case] = [named.pop(name, 0.0) for name in DETOUR]
        if named:
            raise EvaluationSetError(f"challenge {case}, {one.behaviour}, has {sorted(named)}, which nobody knows")
        if not 0 <= one.actor < actors or one.frame < first[case]:
            raise EvaluationSetError(
                f"challenge {case} is of actor {one.actor} of {actors} from frame {one.frame} on; expected one of "
                f"these, and no frame before {first[case]}, at which its clip starts"
            )
        plan.behaviour[case, 0], plan.slot[case, 0] = number, one.actor
        plan.begin[case, 0], plan.valid[case, 0] = one.frame - first[case], True
    return casting.challenges(starts, jax.tree.map(jnp.asarray, plan), jnp.asarray(detour))

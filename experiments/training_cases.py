"""Corner cases to train with: a bank of sound ones, drawn by what the current policy learns most from."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from training_records import draw_panels, number_of

from jaxrecon import agents
from jaxrecon.agents.challenged import ChallengedEnvironment, challenged
from jaxrecon.simulator import Simulator, SimulatorParams
from jaxrecon.simulator.casting import casting_of
from jaxrecon.simulator.judging import generate
from jaxrecon.traffic.behaviours import NAMES, TRAINED

BATCH, TOGETHER = {"cpu": 256}, {"cpu": 64}  # cases drawn, and searched for a way out, at once; more on an accelerator
MANY, MANY_TOGETHER = 8192, 4096
PICTURE = "corner_cases.png"
PANELS = {
    "case_failure_rate": "share of a behaviour's clips that an event ends",
    "case_difficulty": "difficulty that is drawn (0 mild, 1 severe)",
    "case_share": "share of the draws",
    "case_learnability": "learnability p (1 - p)",
}


def with_cases(simulator: Simulator, params: SimulatorParams, count: int, key: PRNGKeyArray) -> ChallengedEnvironment:
    """The simulator with so many sound cases of the behaviours that training knows, and a curriculum over them.

    Raises:
        ValueError: its scenes have not so many.
    """
    casting, backend = casting_of(simulator), jax.default_backend()
    weights = jnp.zeros(len(NAMES)).at[jnp.asarray(TRAINED)].set(1.0)
    batch, together = BATCH.get(backend, MANY), TOGETHER.get(backend, MANY_TOGETHER)
    cases, _ = generate(casting, key, weights, params, count, batch=batch, together=together)
    return challenged(simulator, casting, cases)


def cases_as_clips(
    simulator: Simulator, params: SimulatorParams, count: int, key: PRNGKeyArray, blind: bool = False
) -> agents.DrivingCost:
    """How policies drive in so many sound cases of their own streets, each played once.

    Raises:
        ValueError: its scenes have not so many.
    """
    challenged_simulator = with_cases(simulator, params, count, key).simulator
    bank = challenged_simulator.challenges
    assert bank is not None
    clips = agents.Clips(bank.start.frame, bank.start.perturbation, bank.start.scene, jnp.arange(count))
    return agents.DrivingCost(challenged_simulator, clips, params, count, blind)


def hash_of_cases(environment: ChallengedEnvironment) -> str:
    """SHA-256 of the bank's plans, to four digits, for it is drawn anew in a resumed run."""
    digest = hashlib.sha256()
    assert environment.simulator.challenges is not None
    for leaf in jax.tree.leaves(jax.device_get(environment.simulator.challenges.plan)):
        digest.update(np.round(np.asarray(leaf, np.float64), 4).tobytes())
    return digest.hexdigest()


def draw_behaviours(rows: Sequence[Mapping[str, Any]], folder: pathlib.Path) -> None:
    """Curves of every behaviour that training knows, over the updates of a run with corner cases."""
    if not rows or "case_share" not in rows[0]:
        return
    panels = {
        title: {NAMES[number]: np.array([number_of(row[name][number]) for row in rows]) for number in TRAINED}
        for name, title in PANELS.items()
    }
    draw_panels(panels, folder / PICTURE)


def standing(row: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The last figures of every behaviour, by its name."""
    names = [name for name in row if name.startswith("case_")]
    return {
        NAMES[number]: {name.removeprefix("case_"): row[name][number] for name in names} for number in range(len(NAMES))
    }

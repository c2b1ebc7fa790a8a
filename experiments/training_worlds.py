"""The worlds to train in: fitted training streets, some of them kept for validation, and demonstrations in them."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import fit_streets
import jax
import jax.numpy as jnp
import numpy as np
from fitted_streets import FittedStreet, Stored, read_streets, splat_world, what_is_stored
from jaxtyping import PRNGKeyArray
from rooms import roomy, start_at_random
from tqdm import tqdm
from training_presets import BLOCK, START, training_params, validation_params

from jaxrecon import agents
from jaxrecon.agents.scoreboard import WAY
from jaxrecon.agents.shown import Shown, prepare
from jaxrecon.metrics.closed_loop import summarise
from jaxrecon.simulator import (
    Demonstrations,
    Perturbation,
    Simulator,
    SimulatorParams,
    SplatCameras,
    demonstrations,
)

HELD_OUT_EVERY = 8  # streets of which the last is for validation
LOOKED_AT = 32  # environments by whose starts the room for pairs is found
ROOM = 1.6  # times what they need: later moments need more
CHUNK = {"cpu": 32}  # moments drawn at once; more on an accelerator
MANY = 256
SCORED = ("CR", "DR", "at_fault_collision", "progress", WAY, "ADD")
STREETS = pathlib.Path("outputs/streets")


@dataclasses.dataclass(frozen=True)
class TrainingWorlds:
    """Where to train and where to validate.

    Attributes:
        train: streets to drive and to be shown in.
        validation: streets for choosing among policies; those of ``train`` where there are too few for others.
        content: hash of each street's scene, by its name, those of both.
    """

    train: Simulator
    validation: Simulator
    content: dict[str, str]

    @property
    def held_out(self) -> list[str]:
        """Names of the streets that are validated in alone."""
        trained = set(self.train.world.names)
        return [name for name in self.validation.world.names if name not in trained]


def training_worlds(folder: pathlib.Path | None, size: tuple[int, int]) -> TrainingWorlds:
    """The training streets of a folder; without one they are made first, as `fit_streets.py` does.

    Args:
        folder: that ``fit_streets.py`` wrote.
        size: of the policy's images, pixels.

    Raises:
        RunError: if it holds no training streets, or one was fitted to another drive.
    """
    if folder is None:
        folder = STREETS
        fit_streets.main(fit_streets.FitStreets(out=folder, test=0))
    return _training_worlds(folder, size, what_is_stored(folder, "train"))


@functools.lru_cache(maxsize=1)
def _training_worlds(folder: pathlib.Path, size: tuple[int, int], stored: Stored) -> TrainingWorlds:
    """Kept for the process's next command, unless something else is stored by then."""
    streets = read_streets(folder, "train")
    held_out = [one for number, one in enumerate(streets) if number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1]
    used = [one for one in streets if one not in held_out] if held_out else list(streets)
    train = _simulator(used, size)
    validation = _simulator(held_out, size) if held_out else train
    return TrainingWorlds(train, validation, {one.log.name: one.content for one in streets})


def _simulator(streets: Sequence[FittedStreet], size: tuple[int, int]) -> Simulator:
    return with_room_to_drive(Simulator(splat_world(streets, size)), training_params())


def with_room_to_drive(
    simulator: Simulator, params: SimulatorParams, room: float = ROOM, environments: int = LOOKED_AT
) -> Simulator:
    """The same with so many times the room for (splat, tile) pairs that clips need where they start at random."""
    if not isinstance(simulator.world.source, SplatCameras):
        return simulator
    return roomy(simulator, start_at_random(simulator, params, environments), room)[0]


def validation_clips(simulator: Simulator, key: PRNGKeyArray, count: int) -> agents.Clips:
    """Clips for choosing among policies; their starts are those of the scoreboard's kind."""
    return agents.draw_clips(simulator, key, count, validation_params())


def driving_of(cost: agents.DrivingCost, policy: agents.Policy) -> dict[str, float]:
    """How a policy drives the clips of a cost: means of ``SCORED``."""
    told = cost.report(policy).per_clip
    scored = {name: jax.tree.map(jnp.asarray, told[name]) for name in SCORED}
    return {name: float(value) for name, value in summarise(scored).items()}


def show_all(
    simulator: Simulator, params: SimulatorParams, copies: int, history: int, key: PRNGKeyArray, blind: bool = False
) -> Shown:
    """What a policy sees at every recorded moment of every street, and beside it, with the recorded driver's actions.

    Rows come block of frames by block, the copies of a frame among those of its block, so that whole blocks may be held
    out. Moments of an unfinished block at a street's end are left out.

    Args:
        simulator: of the streets.
        params: thresholds that the copies must keep.
        copies: of each moment, with poses drawn around the recorded one; they remember no other frames.
        history: frames that the policy sees at once.
        key: of the copies.
        blind: draw nothing.
    """
    scene, frame = _moments(simulator)
    copy = np.repeat(np.arange(1 + copies), len(scene))
    scene, frame = np.tile(scene, 1 + copies), np.tile(frame, 1 + copies)
    # The first are the recorded poses themselves.
    spread = np.array([[START["start_lateral"]], [START["start_heading"]], [0.1]])
    noise = np.array(jax.random.normal(key, (3, len(scene)))) * spread * (copy > 0)
    perturbation = Perturbation(lateral=noise[0], heading=noise[1], speed=1.0 + noise[2])
    rows = _draw(simulator, params, scene, frame, perturbation, draw=not blind)
    started = (copy > 0) | (frame == 0)
    valid = np.asarray(rows.valid)
    order = np.lexsort((frame[valid], copy[valid], frame[valid] // BLOCK, scene[valid]))
    shown = prepare(rows, history, started)
    blocks = scene[valid] * 10_000 + frame[valid] // BLOCK
    names, sizes = np.unique(blocks, return_counts=True)
    full = names[sizes == BLOCK * (1 + copies)]
    kept = order[np.isin(blocks[order], full)] if full.size else order
    return shown.rows(jnp.asarray(kept, jnp.int32))


def _moments(simulator: Simulator) -> tuple[np.ndarray, np.ndarray]:
    """Scene and frame of every recorded moment, in order."""
    frames = np.asarray(simulator.world.frames)
    return np.repeat(np.arange(len(frames)), frames), np.concatenate([np.arange(count) for count in frames])


def _draw(
    simulator: Simulator,
    params: SimulatorParams,
    scene: np.ndarray,
    frame: np.ndarray,
    perturbation: Perturbation,
    draw: bool,
) -> Demonstrations:
    at = jax.jit(demonstrations, static_argnames="draw")
    size = min(CHUNK.get(jax.default_backend(), MANY), len(scene))
    parts = []
    for first in tqdm(range(0, len(scene), size), desc="demonstrations", unit="batch"):
        # The last chunk repeats the last moment, so that all have one shape.
        rows = np.minimum(first + np.arange(size), len(scene) - 1)
        beside = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows], jnp.float32), perturbation)
        where = jnp.asarray(scene[rows], jnp.int32)
        part = at(simulator, jnp.asarray(frame[rows], jnp.int32), params, beside, draw=draw, scenes=where)
        parts.append(jax.device_get(part))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(scene)], *parts)

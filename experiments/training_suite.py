"""The training rows: PPO from pixels in procedural streets as `train_ppo.py` runs it, with frames that are varied and
demonstrations to imitate beside; rollout, rendering and every gradient step included."""

import dataclasses
import pathlib
import pickle
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_rows import BenchmarkError, make_row
from benchmark_suite import Made, Row, Suite, fresh_process
from benchmark_timing import measure
from street_worlds import (
    AHEAD,
    LEFT,
    RIGHT,
    StreetWorld,
    make_streets,
    policy_cameras_of,
    scene_notes,
    with_cameras,
    world_of,
)
from training_cases import with_cases
from training_presets import TERMS, network, training_params
from training_specs import TrainingScale
from training_worlds import show_all, with_room_to_drive

from jaxrecon import agents
from jaxrecon.agents import PolicyConfig, PPOConfig
from jaxrecon.agents.flops import flops_per_frame
from jaxrecon.agents.imitation_loss import DEFAULT_IMITATION
from jaxrecon.agents.ppo_config import DEFAULT_PPO
from jaxrecon.agents.ppo_update import drive, initial_state, update
from jaxrecon.agents.shown import Shown
from jaxrecon.agents.varied import VariedEnvironment
from jaxrecon.simulator import Simulator, SimulatorConfig, SimulatorParams

CHILD = pathlib.Path(__file__).with_name("training_child.py")
CHILD_SECONDS = 400.0
ROOMS = (1.4, 1.9, 2.6)  # times the room for pairs that clips need where they start; tried in turn
KEYS = 64
MOST_MFLOP = 80.0  # a frame, of the shipped encoder
CORNER_SHARE = 0.5  # of the clips in which a corner case is played, in the row that has them
KEY_SHOWN, KEY_CASES = 3, 4  # seeds
_rollout = jax.jit(drive, static_argnames="config")


class TrainingBench(Suite):
    """Measures rows; what several rows need is made once.

    Args:
        scale: how much of everything.
    """

    def __init__(self, scale: TrainingScale):
        super().__init__(scale)
        self._room = ROOMS[0]

    @property
    def measurements(self) -> dict[str, Callable[[], Row]]:
        """What measures each row of the suite, by name."""
        scale = self.scale
        fewer = dataclasses.replace(scale.ppo, minibatches=scale.residual_minibatches)
        shipped = partial(self._speed, scale.shipped, scale.ppo, MOST_MFLOP)
        makers: dict[str, Callable[[str], Row]] = {
            "ppo_camera_env_steps_per_second": shipped,
            "ppo_first_update_cold_seconds": self._cold,
            "ppo_camera_resnet_env_steps_per_second": partial(self._speed, scale.residual, fewer, None),
            "ppo_camera_corner_cases_env_steps_per_second": partial(shipped, cases=True),
        }
        return {name: partial(self._row, name, "gpu", make) for name, make in makers.items()}

    def _streets(self) -> tuple[list[StreetWorld], dict[str, Any]]:
        """The scenes, and what rows tell of them."""
        scale = self.scale
        yaws = (AHEAD, LEFT, RIGHT)  # the scenes of the simulator's suite

        def make() -> tuple[list[StreetWorld], dict[str, Any]]:
            streets = make_streets([scale.street] * scale.scenes, scale.size, yaws, scale.assembly)
            return streets, scene_notes(streets, scale.least_splats, scale.least_moving)

        return self._once("streets", lambda: _staged("streets", make))

    def _simulator(self) -> Simulator:
        """All scenes, drawn in their policy-resolution form, with as much room as was enough so far."""

        def make() -> Simulator:
            (streets, _), count = self._streets(), self.scale.ppo.environments
            world = self._once("world", lambda: with_cameras(world_of(streets, policy_cameras_of(streets)), 1))
            simulator = Simulator(world, SimulatorConfig(terms=TERMS))
            return with_room_to_drive(simulator, training_params(), self._room, count)

        return self._once(f"simulator {self._room}", lambda: _staged("simulator", make))

    def _training(self, cases: bool) -> "Training":
        """Where the rows train, with corner cases or without, and what they are shown."""
        simulator, params, changes = self._simulator(), training_params(), self.scale.ppo.augmentation
        if changes is None:
            raise BenchmarkError(f"scale {self.scale.name!r} changes no frames; expected what train_ppo.py changes")
        demonstrations = self._once(
            f"shown {self._room}",
            lambda: _staged(
                "demonstrations", lambda: show_all(simulator, params, self.scale.copies, 1, jax.random.key(KEY_SHOWN))
            ),
        )
        if not cases:
            return Training(VariedEnvironment(simulator, changes), params, demonstrations)
        made = _staged(
            "corner cases", lambda: with_cases(simulator, params, self.scale.cases, jax.random.key(KEY_CASES))
        )
        params = dataclasses.replace(params, case_share=jnp.asarray(CORNER_SHARE, jnp.float32))
        return Training(VariedEnvironment(made, changes), params, demonstrations)

    def _speed(self, size: str, ppo: PPOConfig, most: float | None, name: str, cases: bool = False) -> Row:
        """The row of a policy, with more room where images lack splats."""
        scale = self.scale
        shape = network(size, scale.size)
        mflop = flops_per_frame(shape) / 1e6
        if most is not None and mflop > most:
            raise BenchmarkError(f"the encoder takes {mflop:.1f} MFLOP a frame; expected at most {most:.0f}")
        while True:
            timed = _time(name, self._training(cases), shape, ppo, scale.updates)
            if not timed.overflow:
                break
            larger = [room for room in ROOMS if room > self._room]
            if not larger:
                raise BenchmarkError(f"{timed.overflow:.2%} of an update's images lack splats")
            print(f"    {timed.overflow:.2%} of an update's images lack splats: once more with more room", flush=True)
            self._room = larger[0]
        _, notes = self._streets()
        quality = {**notes, "room_for_pairs": self._room, **_described(shape, mflop, ppo), **timed.notes}
        if cases:
            quality |= {"corner_cases": scale.cases, "corner_share": CORNER_SHARE}
        slow, middle, fast = (1e3 * ppo.environments * ppo.steps / spent for spent in timed.milliseconds)
        return make_row(name, middle, "env-steps/s", quality, low=slow, high=fast)

    def _cold(self, name: str) -> Row:
        """Seconds from a loaded world to the end of the first update, in a fresh process without any cache."""
        scale, simulator = self.scale, self._simulator()
        with tempfile.TemporaryDirectory() as folder_name:
            folder = pathlib.Path(folder_name)
            # Written and read by this program alone.
            parts = (jax.device_get(simulator), network(scale.shipped, scale.size), scale.ppo, scale.copies)
            (folder / "run.pickle").write_bytes(pickle.dumps(parts))
            found = _staged("a fresh process", lambda: _fresh_process(folder))
        seconds = found.pop("first_update_seconds")
        shape = network(scale.shipped, scale.size)
        quality = {
            "environments": scale.ppo.environments,
            "epochs": scale.ppo.epochs,
            "size": f"{shape.width}x{shape.height}",
        }
        return make_row(name, seconds, "s", quality | found)


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained with.

    Attributes:
        environment: that is driven in.
        params: of its rewards and starts.
        shown: rows to imitate beside.
    """

    environment: VariedEnvironment
    params: SimulatorParams
    shown: Shown


@dataclasses.dataclass(frozen=True)
class Timed:
    """Updates, timed.

    Attributes:
        milliseconds: of an update: the slowest, the median, the fastest.
        overflow: largest share of an update's images that lacked splats.
        notes: what stands beside the speed.
    """

    milliseconds: tuple[float, float, float]
    overflow: float
    notes: dict[str, Any]


def _time(name: str, given: Training, shape: PolicyConfig, ppo: PPOConfig, updates: int) -> Timed:
    """Whole updates, and their rollouts alone.

    Raises:
        BenchmarkError: if a gradient step was not finite.
    """
    environment, params, figures = given.environment, given.params, []
    policy = agents.create_policy(shape, jax.random.key(0))
    training = initial_state(environment, policy, ppo, jax.random.key(1), DEFAULT_PPO, params)

    def call(_: int) -> Any:
        nonlocal training
        training, one = update(training, environment, given.shown, ppo, DEFAULT_PPO, DEFAULT_IMITATION, params)
        figures.append(one)
        return training.update, one

    begin = time.perf_counter()
    jax.block_until_ready(call(0))
    first = time.perf_counter() - begin
    print(f"    [{name}] first update, compiled: {first:.1f} s", flush=True)
    whole = measure(call, jax.block_until_ready, updates)
    print(f"    [{name}] an update: {whole.median:.1f} ms", flush=True)
    # From the state that the updates ended in, which a rollout does not give away.
    keys = jax.random.split(jax.random.key(2), KEYS)
    rollout = measure(
        lambda number: _rollout(training, environment, keys[number % KEYS], ppo, params)[1].reward,
        jax.block_until_ready,
        updates,
    )
    print(f"    [{name}] its rollout: {rollout.median:.1f} ms", flush=True)
    told = [jax.device_get(one) for one in figures]
    if told[-1]["skipped"]:
        raise BenchmarkError(f"{told[-1]['skipped']} gradient steps were not finite")
    notes = {
        "seconds_of_an_update": whole.median / 1e3,
        "seconds_of_its_rollout": rollout.median / 1e3,
        "seconds_of_its_gradient_steps": (whole.median - rollout.median) / 1e3,
        "first_update_seconds": first,
        "samples": whole.samples,
        "parameters": agents.parameter_count(policy),
        "frames_varied": True,
        "demonstrations": given.shown.count,
        "overflow_share": 0.0,
        "valid_share": float(np.mean([one["valid_share"] for one in told])),
        "events_per_1000_steps": 1e3 * float(np.mean([one["event_rate"] for one in told])),
        **_memory(),
    }
    overflow = max(float(one["overflow_share"]) for one in told)
    return Timed((whole.high, whole.median, whole.low), overflow, notes)


def _described(shape: PolicyConfig, mflop: float, ppo: PPOConfig) -> dict[str, Any]:
    return {
        "environments": ppo.environments,
        "cameras": shape.cameras,
        "size": f"{shape.width}x{shape.height}",
        "steps": ppo.steps,
        "epochs": ppo.epochs,
        "minibatches": ppo.minibatches,
        "imitation_share": ppo.imitation_share,
        "encoder": shape.encoder.kind,
        "mflop_a_frame": mflop,
        "compute": shape.compute,
    }


def _memory() -> dict[str, float]:
    """Peak of this process so far; on a CPU, which does not count it, nothing."""
    stats = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {} if peak is None else {"peak_gib_process": peak / 2**30}


def _staged(name: str, make: Callable[[], Made]) -> Made:
    begin = time.perf_counter()
    made = make()
    print(f"    {name}: {time.perf_counter() - begin:.1f} s", flush=True)
    return made


def _fresh_process(folder: pathlib.Path) -> dict[str, float]:
    found = fresh_process(CHILD, folder, seconds=CHILD_SECONDS)
    if found.pop("overflow_share") or found.pop("skipped"):
        raise BenchmarkError("the first update's images lack splats, or its gradients are not finite")
    return found

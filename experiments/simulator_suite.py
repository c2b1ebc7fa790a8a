"""The simulator's rows: procedural streets driven at random by thousands of environments, with cameras and without."""

import dataclasses
import pathlib
import pickle
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from benchmark_rows import BenchmarkError, make_row
from benchmark_suite import Row, Suite, fresh_process
from rooms import roomy, start_at_random
from simulator_drawing import judge
from simulator_rollouts import Rolled, endure, peak_gib, time_rollout
from simulator_specs import ACTORS, BUSY, SimulatorScale
from street_worlds import (
    AHEAD,
    LEFT,
    RIGHT,
    StreetWorld,
    exact_cameras_of,
    make_streets,
    moving_actors,
    policy_cameras_of,
    road_points,
    scene_notes,
    state_world,
    with_cameras,
    world_of,
)
from waymax_peer import WaymaxPeer

from jaxrecon import street
from jaxrecon.simulator import ALL_TERMS, RAD_TERMS, Simulator, SimulatorConfig, default_params, reward_weights
from jaxrecon.simulator.street_cameras import StreetCameras, stack_streets

TERMS = (*RAD_TERMS, *(term for term in ALL_TERMS if term[0] == "off_road"))
GROWTH = 1 << 20  # bytes by which the memory in use may differ between calls of a compiled function
CHILD = pathlib.Path(__file__).with_name("simulator_child.py")
CHILD_SECONDS = 300.0


class SimulatorBench(Suite):
    """Measures rows; what several rows need is made once.

    Args:
        scale: how much of everything.
        peer: measured beside the rows without cameras; None: no comparison.
    """

    def __init__(self, scale: SimulatorScale, peer: WaymaxPeer | None):
        super().__init__(scale)
        self.peer = peer

    @property
    def measurements(self) -> dict[str, Callable[[], Row]]:
        """What measures each row of the suite, by name.

        The row that reports its memory comes before those whose judging needs more.
        """
        makers: dict[str, tuple[str, Callable[[str], Row]]] = {
            "state_only_32": ("gpu", partial(self._state_only, self.scale.batches)),
            "cpu_state_only_32": ("cpu", partial(self._state_only, self.scale.cpu_batches)),
            "camera_4096_peak_gib": ("gpu", self._memory),
            "camera_1024x1x96x64": ("gpu", partial(self._cameras, 1)),
            "camera_1024x3x96x64": ("gpu", partial(self._cameras, 3)),
            "reality_1024x1x96x64": ("gpu", self._reality),
            "first_step_cold_seconds": ("gpu", partial(self._first_step, "cold")),
            "first_step_cached_seconds": ("gpu", partial(self._first_step, "cached")),
            "million_steps": ("any", self._million),
        }
        return {name: partial(self._row, name, device, make) for name, (device, make) in makers.items()}

    def _state_simulator(self, everything: bool = False) -> tuple[Simulator, dict[str, Any]]:
        """One street of 32 actors, judged by RAD's events and the road's edge, or by every term there is."""
        world, log = self._once("state world", lambda: state_world(BUSY, 0))
        if world.traffic.capacity != ACTORS:
            raise BenchmarkError(f"log {log.name} has {world.traffic.capacity} actors; expected {ACTORS}")
        terms = ALL_TERMS if everything else TERMS
        simulator = Simulator(world, SimulatorConfig(action="continuous", render=False, terms=terms))
        return simulator, {"actors": ACTORS, "road_points": road_points(log), "moving_actors": moving_actors(log)}

    def _state_only(self, batches: tuple[int, ...], name: str) -> Row:
        simulator, notes = self._state_simulator()
        rolled = {batch: self._drive(simulator, batch) for batch in batches}
        best = min(batches, key=lambda batch: rolled[batch].timing.median / batch)
        everything, _ = self._state_simulator(everything=True)
        full = self._drive(everything, best)
        quality = {
            "batch": best,
            "env_steps_per_second_by_batch": {
                str(batch): one.speed(one.timing.median) for batch, one in rolled.items()
            },
            "env_steps_per_second_every_term": full.speed(full.timing.median),
            "terms": ", ".join(term for term, _ in TERMS),
            **notes,
            **rolled[best].notes,
        }
        return _speed_row(name, rolled[best], quality, self._peer_speed())

    def _drive(self, simulator: Simulator, environments: int) -> Rolled:
        params = _params(simulator)
        return time_rollout(simulator, params, environments, self.scale.state_steps, False, self.scale.repeats)

    def _peer_speed(self) -> dict[str, Any]:
        """The peer's on the same street, as keys of a row."""
        if self.peer is None:
            return {}
        _, log = self._made["state world"]
        return self.peer.measure(log, self.scale.repeats)

    def _streets(self) -> tuple[list[StreetWorld], dict[str, Any]]:
        """The scenes, and what rows tell of them."""

        def make() -> tuple[list[StreetWorld], dict[str, Any]]:
            begin, scale = time.perf_counter(), self.scale
            streets = make_streets([scale.street] * scale.scenes, scale.size, (AHEAD, LEFT, RIGHT), scale.assembly)
            return streets, scene_notes(streets, scale.least_splats) | {"build_seconds": time.perf_counter() - begin}

        return self._once("streets", make)

    def _simulator(self, cameras: int) -> Simulator:
        """All scenes, their policy-resolution form before so many cameras."""
        streets, _ = self._streets()
        world = self._once("world", lambda: world_of(streets, policy_cameras_of(streets)))
        config = SimulatorConfig(action="continuous", terms=ALL_TERMS)
        return Simulator(with_cameras(world, cameras), config)

    def _roomy(self, cameras: int) -> tuple[Simulator, float]:
        """The same, with room for the pairs of all environments; and the pairs of a camera."""

        def make() -> tuple[Simulator, float]:
            simulator = self._simulator(cameras)
            state = start_at_random(simulator, _params(simulator), self.scale.environments)
            return roomy(simulator, state)

        return self._once(f"room for {cameras}", make)

    def _cameras(self, cameras: int, name: str) -> Row:
        scale, (_, notes) = self.scale, self._streets()
        simulator, pairs = self._roomy(cameras)
        rolled, told = self._drawn(simulator, cameras, "splats")
        blind = time_rollout(
            simulator, _params(simulator), scale.environments, scale.camera_steps, False, scale.repeats
        )
        quality = {
            **notes,
            **told,
            "pairs_per_camera": pairs,
            "env_steps_per_second_undrawn": blind.speed(blind.timing.median),
        }
        quality |= self._once("judged", self._judged)
        return _speed_row(name, rolled, quality, {})

    def _reality(self, name: str) -> Row:
        """The same environments before the streets' own ray caster."""
        scale, (_, notes) = self.scale, self._streets()
        streets = [street.generate(scale.street, seed) for seed in range(scale.scenes)]
        source = StreetCameras(stack_streets([one.world for one in streets]))
        simulator = self._simulator(1)
        simulator = dataclasses.replace(simulator, world=dataclasses.replace(simulator.world, source=source))
        rolled, told = self._drawn(simulator, 1, "solids")
        quality = {
            "scenes": scale.scenes,
            "least_moving_actors_of_a_scene": notes["least_moving_actors_of_a_scene"],
            "solids": [int(sum(kind.valid.sum() for kind in one.world.kinds)) for one in streets],
            "rays_an_image": source.config.supersampling**2 * scale.size[0] * scale.size[1],
            **told,
        }
        return _speed_row(name, rolled, quality, {})

    def _drawn(self, simulator: Simulator, cameras: int, content: str) -> tuple[Rolled, dict[str, Any]]:
        """A timed rollout with images, and what rows tell of it.

        Raises:
            BenchmarkError: images lack content, named so.
        """
        scale = self.scale
        rolled = time_rollout(
            simulator, _params(simulator), scale.environments, scale.camera_steps, True, scale.repeats
        )
        overflow = int(rolled.counted.overflow)
        if overflow:
            raise BenchmarkError(f"{overflow} of {rolled.calls * rolled.steps} steps have images that lack {content}")
        told = {
            "environments": scale.environments,
            "cameras": cameras,
            "size": f"{scale.size[0]}x{scale.size[1]}",
            "overflow_share": 0.0,
            **rolled.notes,
        }
        return rolled, told

    def _judged(self) -> dict[str, float]:
        """Distance of one camera's images from the truth."""
        streets, _ = self._streets()
        simulator, _ = self._roomy(1)
        state = start_at_random(simulator, _params(simulator), self.scale.shown, seed=5)
        exact = dataclasses.replace(simulator.world, source=exact_cameras_of(streets))
        return judge(simulator.world, exact, state)

    def _memory(self, name: str) -> Row:
        simulator, _ = self._roomy(1)
        found = peak_gib(simulator, _params(simulator), self.scale.most_environments, steps=2)
        if found["overflow"]:
            raise BenchmarkError(f"{found['overflow']:.0f} steps have images that lack splats")
        value = max(found["peak_gib_compiled"], found["peak_gib_process"])
        return make_row(name, value, "GiB", {"environments": self.scale.most_environments, "cameras": 1, **found})

    def _first_step(self, kind: str, name: str) -> Row:
        found = self._once("first steps", self._first_steps)[kind]
        quality = {key: value for key, value in found.items() if key != "first_step_seconds"}
        return make_row(name, found["first_step_seconds"], "s", quality | {"environments": self.scale.environments})

    def _first_steps(self) -> dict[str, dict[str, float]]:
        """What a fresh process says that its first step took, its compilation cache empty and then filled."""
        simulator, _ = self._roomy(1)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            # Written and read by this program alone.
            (folder / "simulator.pickle").write_bytes(pickle.dumps(jax.device_get(simulator)))
            return {kind: _fresh_process(folder, self.scale.environments) for kind in ("cold", "cached")}

    def _million(self, name: str) -> Row:
        scale, draw = self.scale, jax.default_backend() != "cpu"
        if draw:
            simulator, environments, steps = self._roomy(1)[0], scale.environments, scale.camera_steps
        else:
            simulator, environments, steps = self._state_simulator(everything=True)[0], max(scale.cpu_batches), 20
        begin = time.perf_counter()
        endured = endure(simulator, _params(simulator), environments, steps, draw, scale.million)
        seconds, counted = time.perf_counter() - begin, endured.counted
        quality = {
            "not_finite": int(counted.broken),
            "memory_before_mib": endured.memory[0] / 2**20,
            "memory_settled_mib": endured.memory[2] / 2**20,
            "memory_after_mib": endured.memory[-1] / 2**20,
            "memory_growth_bytes": endured.growth,
            "driven_steps": int(counted.valid),
            "events": [int(count) for count in counted.events],
            "overflow": int(counted.overflow),
            "drawn": draw,
            "environments": environments,
            "seconds_with_compilation": seconds,
        }
        if counted.broken or endured.growth > GROWTH:
            raise BenchmarkError(f"after {endured.steps} random steps: {quality}")
        return make_row(name, endured.steps, "env-steps", quality)


def _params(simulator: Simulator) -> Any:
    return default_params(reward_weights(terms=simulator.config.terms))


def _speed_row(name: str, rolled: Rolled, quality: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    timing = rolled.timing
    value = rolled.speed(timing.median)
    if peer:
        quality[peer["peer_name"]] = peer.pop("notes")
        peer["ratio"] = value / peer["peer_value"]
    spread = {"low": rolled.speed(timing.high), "high": rolled.speed(timing.low)}
    return make_row(name, value, "env-steps/s", quality, **peer, **spread)


def _fresh_process(folder: pathlib.Path, environments: int) -> dict[str, float]:
    found = fresh_process(CHILD, folder, str(environments), seconds=CHILD_SECONDS)
    if found.pop("overflow"):
        raise BenchmarkError("the first step's images lack splats")
    return found

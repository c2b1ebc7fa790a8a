"""The traffic's rows: what adversaries cost in the rendered step, how fast sound cases are made, whom they hurt."""

import dataclasses
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_rows import BenchmarkError, make_row
from benchmark_suite import Row, Suite
from corner_cases import rates_of
from rooms import roomy, start_at_random
from simulator_rollouts import Rolled, time_rollout
from street_worlds import AHEAD, BEHIND, busy_street, make_streets, policy_cameras_of, with_cameras, world_of
from traffic_specs import TrafficScale

from jaxrecon.scene.assembled import AssembleConfig
from jaxrecon.simulator import ALL_TERMS, Simulator, SimulatorConfig, World, default_params, reward_weights
from jaxrecon.simulator.casting import Casting, casting_of
from jaxrecon.simulator.judging import Judged, Tally, generate
from jaxrecon.traffic.behaviours import BEHAVIOURS, NAMES, TRAINED

PREFIX = "corner_case_"


class TrafficBench(Suite):
    """Measures rows; what several rows need is made once.

    Args:
        scale: how much of everything.
    """

    def __init__(self, scale: TrafficScale):
        super().__init__(scale)
        self.amounts = scale.cpu if self.here == "cpu" else scale.accelerator

    @property
    def measurements(self) -> dict[str, Callable[[], Row]]:
        """What measures each row of the suite, by name."""
        makers: dict[str, tuple[str, Callable[[str], Row]]] = {
            "generate_10k_seconds": ("gpu", self._generate),
            "cpu_generate_10k_seconds": ("cpu", self._generate),
            "adversary_share_of_step": ("any", self._share),
            "avoidable_share": ("any", self._avoidable),
        }
        makers |= {PREFIX + name: ("any", partial(self._behaviour, number)) for number, name in enumerate(NAMES)}
        return {name: partial(self._row, name, device, make) for name, (device, make) in makers.items()}

    def _world(self) -> World:
        """All streets, in their policy-resolution form, before a camera ahead and one behind."""

        def make() -> World:
            configs = [busy_street(self.scale.street, seed, self.scale.moving) for seed in range(self.scale.scenes)]
            assembly = AssembleConfig(capacity=self.amounts.splats)
            streets = make_streets(configs, self.scale.size, (AHEAD, BEHIND), assembly)
            return world_of(streets, policy_cameras_of(streets))

        return self._once("world", make)

    def _casting(self) -> Casting:
        simulator = Simulator(self._world(), SimulatorConfig(action="continuous"))
        return self._once("casting", lambda: casting_of(simulator))

    def _draw(self, key: jax.Array, count: int) -> tuple[Judged, Tally]:
        """Sound cases of the behaviours that training knows, all alike often."""
        weights, amounts = jnp.zeros(len(NAMES)).at[jnp.asarray(TRAINED)].set(1.0), self.amounts
        return generate(
            self._casting(), key, weights, default_params(), count, batch=amounts.batch, together=amounts.together,
            progress=False,
        )  # fmt: skip

    def _generate(self, name: str) -> Row:
        """Seconds for so many sound cases, once everything is compiled."""
        begin = time.perf_counter()
        self._draw(jax.random.key(0), 1)
        cold, spent, drawn = time.perf_counter() - begin, [], []
        for number in range(self.scale.repeats):
            begin = time.perf_counter()
            cases, counted = self._draw(jax.random.key(1 + number), self.scale.generated)
            jax.block_until_ready(cases)
            spent.append(time.perf_counter() - begin)
            drawn.append(counted)
        told = sum(drawn[1:], drawn[0])
        total = int(told.drawn.sum())
        quality = {
            "sound_cases": self.scale.generated,
            "drawn_cases": total / self.scale.repeats,
            "acceptance": int(told.sound.sum()) / total,
            "recorded_drive_collides": int(told.hits.sum()) / int(told.sound.sum()),
            "first_batch_seconds": cold,
            "cores": os.cpu_count(),
            "batch": self.amounts.batch,
            "samples": self.scale.repeats,
        }
        return make_row(name, float(np.median(spent)), "s", quality, low=min(spent), high=max(spent))

    def _share(self, name: str) -> Row:
        """Part of a rendered step that adversaries take: the same worlds and drives with and without them."""
        amounts, casting = self.amounts, self._casting()
        cases, _ = self._draw(jax.random.key(7), self.scale.bank)
        bank = casting.challenges(cases.start, cases.plan, cases.detour)
        plain = Simulator(with_cameras(self._world(), 1), SimulatorConfig(action="continuous", terms=ALL_TERMS))
        params = default_params(reward_weights({}, ALL_TERMS))
        state = start_at_random(plain, params, amounts.environments)
        plain, pairs = roomy(plain, state)
        full = dataclasses.replace(plain, challenges=bank)
        rolled: dict[tuple[bool, bool], Rolled] = {}
        for draws in (True, False):
            for acts in (False, True):
                simulator = full if acts else plain
                rolled[draws, acts] = time_rollout(
                    simulator, params, amounts.environments, amounts.steps, draws, self.scale.repeats + 2
                )
        overflow = sum(int(one.counted.overflow) for one in rolled.values())
        if overflow:
            raise BenchmarkError(f"{overflow} steps have images that lack splats; give the pairs more room")
        step = {key: one.timing.median / amounts.steps for key, one in rolled.items()}
        quality = {
            "environments": amounts.environments,
            "size": f"{self.scale.size[0]}x{self.scale.size[1]}",
            "adversaries_per_environment": bank.plan.slot.shape[1],
            "cases": self.scale.bank,
            "pairs_per_camera": pairs,
            "ms_per_step": step[True, True],
            "ms_per_step_without": step[True, False],
            "ms_per_undrawn_step": step[False, True],
            "ms_per_undrawn_step_without": step[False, False],
            "share_by_undrawn_steps": (step[False, True] - step[False, False]) / step[True, True],
        }
        return make_row(name, 1 - step[True, False] / step[True, True], "share", quality)

    def _rates(self, number: int) -> dict[str, Any]:
        """Of a behaviour, see ``corner_cases.rates_of``."""

        def make() -> dict[str, Any]:
            scale, params = self.scale, default_params()
            weights = jnp.zeros(len(NAMES)).at[number].set(1.0)
            key = jax.random.fold_in(jax.random.key(3), number)
            cases, counted = generate(
                self._casting(), key, weights, params, scale.each, batch=scale.each_batch,
                together=self.amounts.together, rounds=scale.rounds, fewer=True, progress=False, second_share=0.0,
            )  # fmt: skip
            return rates_of(self._casting(), cases, counted, number, params)

        return self._once(f"rates of {number}", make)

    def _behaviour(self, number: int, name: str) -> Row:
        rates = self._rates(number)
        if not rates["kept"]:
            raise BenchmarkError(f"none of {rates['drawn']} cases of {NAMES[number]} is sound in these streets")
        return make_row(name, rates["non_reacting_collision_rate"], "share", {"scenes": self.scale.scenes, **rates})

    def _avoidable(self, name: str) -> Row:
        """Share of sound cases of every behaviour whose way out, driven again, ends in no event."""
        told = {one.name: self._rates(number) for number, one in enumerate(BEHAVIOURS)}
        kept = {one: rates["kept"] for one, rates in told.items() if rates["kept"]}
        cases = sum(kept.values())
        share = sum(told[one]["avoidable_share"] * count for one, count in kept.items()) / cases
        hits = {one: told[one]["non_reacting_collision_rate"] for one in kept}
        quality = {
            "cases": cases,
            "behaviours": len(kept),
            "least_acceptance": min(told[one]["acceptance"] for one in kept),
            "least_recorded_drive_collision_rate": min(hits.values()),
        }
        return make_row(name, share, "share", quality)

"""Films of corner cases: cameras and the view from above, as was recorded and by the way out."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from drive_films import PAUSE, ground_in
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from jaxrecon import viz
from jaxrecon.logs import DrivingLog
from jaxrecon.simulator import Simulator, SimulatorParams
from jaxrecon.simulator.casting import Casting
from jaxrecon.simulator.escapes import Escaping, controls
from jaxrecon.simulator.judging import Judged
from jaxrecon.traffic.adversary import limits_in
from jaxrecon.traffic.behaviours import NAMES
from jaxrecon.traffic.cast import actors_at
from jaxrecon.viz.palette import INK, load_font

NEVER = 1 << 30  # step in which the recorded drive reacts
VIEW_WIDTH, ABOVE = 360, 480  # pixels of the cameras and of the view from above
SHOWN = (0.3, 0.65, 1.0)  # of a clip, on the contact sheet


def film(
    simulator: Simulator, casting: Casting, cases: Judged, logs: list[DrivingLog], params: SimulatorParams, most: int
) -> list[list[UInt8[np.ndarray, "height width 3"]]]:
    """Clips of some cases, those first in which the recorded drive collides; each is driven twice.

    Args:
        simulator: with what draws the cameras.
        casting: that made the cases.
        cases: sound ones.
        logs: of the scenes.
        params: thresholds.
        most: cases shown.
    """
    order = np.argsort(~np.asarray(cases.hits), kind="stable")
    # Always as many, so that all behaviours share what is compiled.
    chosen = np.repeat(order[np.arange(most) % len(order)], 2)
    rows = cases.rows(chosen)
    reacts = np.arange(len(chosen)) % 2 == 1
    reaction = jnp.where(jnp.asarray(reacts), rows.reaction, NEVER)
    bank = casting.challenges(rows.start, rows.plan, rows.detour)
    escaping = dataclasses.replace(rows.escaping, reaction=reaction)
    told = jax.device_get(_played(dataclasses.replace(simulator, challenges=bank), escaping, rows.start, params))
    clips = []
    for row in range(min(2 * most, 2 * len(order))):
        driver = "a way out" if reacts[row] else "recorded drive"
        name = NAMES[int(np.asarray(rows.plan.behaviour)[row, 0])]
        mode = "reactive" if np.asarray(rows.plan.reactive)[row, 0] else "perturb"
        scene = int(np.asarray(rows.start.scene)[row])
        ground = ground_in(logs[scene], simulator.world, scene)
        clips.append(viz.freeze(_shots(f"{name} ({mode}): {driver}", told, row, ground, simulator.world.dt), PAUSE))
    return clips


@partial(jax.jit)
def _played(simulator: Simulator, escaping: Escaping, start: Any, params: SimulatorParams) -> dict[str, jax.Array]:
    """What there is to draw, (step, case, ...)."""
    count, world = start.frame.shape[0], simulator.world
    state, _ = simulator.reset_at(
        jax.random.key(0), start.frame, start.perturbation, params, False, start.scene, jnp.arange(count)
    )

    def step(carry: Any, _: None) -> Any:
        state, escaping = carry
        action, escaping = controls(world, state, escaping, simulator.config.limits)
        state, result = simulator.step(state, action, params, draw=True, auto_reset=False)
        moment, cast = simulator.moment(state), state.cast
        actors = actors_at(world.traffic, state.scene, moment.frame, cast)
        box = world.vehicle.at(state.scene).box(state.vehicle)
        limits, sizes = limits_in(world.traffic, state.scene, cast.plan)
        kept = {
            "frames": result.observation.frames,
            "ego": jnp.stack([*box.centre.T, box.heading, box.length, box.width], axis=-1),
            "actors": jnp.concatenate([actors.centre, actors.heading[..., None], actors.sizes[..., :2]], axis=-1),
            "there": actors.valid,
            "threats": jnp.concatenate(
                [cast.acting.user.centre(limits), cast.acting.user.yaw[..., None], sizes[..., :2]], axis=-1
            ),
            "active": cast.acting.active & cast.plan.valid,
            "events": result.events,
            "valid": result.valid,
            "speed": state.vehicle.speed,
            "reacts": (state.elapsed >= escaping.reaction),
        }
        return (state, escaping), kept

    return jax.lax.scan(step, (state, escaping), None, simulator.clip_steps)[1]


def _shots(title: str, told: dict[str, np.ndarray], row: int, ground: viz.Ground, dt: float) -> list[np.ndarray]:
    view = viz.BirdsEyeConfig(width=ABOVE, height=ABOVE, metres=56.0)
    shots = []
    trail = told["ego"][:, row, :2].astype(float)
    for step in range(int(told["valid"][:, row].sum())):
        moment = viz.Moment(
            ego=told["ego"][step, row].astype(float),
            actors=told["actors"][step, row][told["there"][step, row]].astype(float),
            trail=trail[: step + 1],
            events=told["events"][step, row],
            threats=told["threats"][step, row][told["active"][step, row]].astype(float),
        )
        doing = ", reacts" if told["reacts"][step, row] else ""
        caption = f"{title}{doing}   {dt * (step + 1):.1f} s   {3.6 * told['speed'][step, row]:.0f} km/h"
        above = viz.draw_birds_eye(view, ground, moment)
        shots.append(viz.compose_frame(told["frames"][step, row], above, moment.events, caption, VIEW_WIDTH))
    return shots


def sheet(name: str, clips: list[list[np.ndarray]]) -> UInt8[np.ndarray, "height width 3"]:
    """A row of moments of a film's first case under a behaviour's name: as was recorded, then by the way out."""
    picks = [clip[int(share * (len(clip) - 1))] for clip in clips[:2] for share in SHOWN]
    small = [Image.fromarray(one).resize((one.shape[1] // 2, one.shape[0] // 2)) for one in picks]
    row = Image.new("RGB", (sum(one.width for one in small), small[0].height + 22), (255, 255, 255))
    left = 0
    for one in small:
        row.paste(one, (left, 22))
        left += one.width
    ImageDraw.Draw(row).text((6, 3), name, fill=INK, font=load_font(14))
    return np.asarray(row)

"""Where the GPU rasterizer's time goes."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.kernels.arena import Arena, Views
from jaxrecon.kernels.gpu.composite import blend, schedule
from jaxrecon.kernels.gpu.lists import emit_pairs, make_lists, order_pairs, sort_pairs
from jaxrecon.kernels.gpu.packing import pack
from jaxrecon.kernels.gpu.plan import make_plan
from jaxrecon.kernels.raster import RasterConfig


def time_stages(
    arena: Arena, views: Views, detail: float, antialiased: bool, config: RasterConfig, repeats: int = 10
) -> dict[str, float]:
    """Median milliseconds of each stage of a drawing, each run by itself; ``whole`` is all of them in one program.

    Args:
        arena: Gaussians.
        views: cameras.
        detail: as ``rasterize`` takes it.
        antialiased: likewise.
        config: likewise; ``cameras_per_pass`` is not applied.
        repeats: timed runs.
    """
    plan = make_plan(arena, views, antialiased, config, paired=False)
    measure = partial(_timed, repeats=repeats)
    times: dict[str, float] = {}
    times["pack"], packed = measure(partial(pack, plan), arena, views, jnp.float32(detail))
    times["emit"], emitted = measure(partial(emit_pairs, plan), packed)
    keys, payloads = emitted.keys, emitted.payload
    times["sort"], (keys, payloads) = measure(sort_pairs, keys, payloads)
    empty = jnp.zeros(0, jnp.int32)
    times["order"], (_, starts, _) = measure(partial(order_pairs, plan), packed, keys, payloads, empty)
    del keys, payloads
    times["schedule"], _ = measure(schedule, starts)
    lists = jax.jit(partial(make_lists, plan))(packed)
    times["blend"], _ = measure(partial(blend, plan), packed, lists)

    def whole(arena: Arena, views: Views) -> tuple[jax.Array, ...]:
        packed = pack(plan, arena, views, jnp.float32(detail))
        return blend(plan, packed, make_lists(plan, packed))

    del lists, emitted
    times["whole"], _ = measure(whole, arena, views)
    return times


def _timed(function: Callable, *arguments: object, repeats: int) -> tuple[float, Any]:
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    samples = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = jax.block_until_ready(compiled(*arguments))
        samples.append(1e3 * (time.perf_counter() - begin))
    return float(np.median(samples)), result

"""Which splats each region draws, in order: count, emit, sort, order."""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, UInt32

from jaxrecon.kernels.arena import CLUSTER
from jaxrecon.kernels.gpu.packing import Packed
from jaxrecon.kernels.gpu.plan import Plan


@flax.struct.dataclass
class Lists:
    """Each region's splats, near to far.

    Attributes:
        payload: Gaussian of each sorted pair, or, with a gradient to come, the pair.
        starts: first pair of each region, and the end of the last.
        reached: tiles of the region that each sorted pair reaches, a bit each; empty with a gradient to come.
        gaussian_of_pair: with a gradient to come, else empty.
        pair_start: first pair of each Gaussian in each camera, likewise.
        pair_count: likewise.
        overflow: cameras whose pairs did not all fit.
        pairs: that each camera needed.
    """

    payload: Int[Array, " pair"]
    starts: Int[Array, " bound"]
    reached: UInt32[Array, " pair"]
    gaussian_of_pair: Int[Array, " pair"]
    pair_start: Int[Array, " slot"]
    pair_count: Int[Array, " slot"]
    overflow: Bool[Array, " camera"]
    pairs: Int[Array, " camera"]


def count_pairs(plan: Plan, packed: Packed) -> Int[Array, "camera run"]:
    """Pairs that each run of clusters gives each camera."""
    shape = jax.ShapeDtypeStruct((plan.cameras, plan.runs), jnp.int32)
    operands = (packed.records, packed.poses, packed.cameras, packed.clusters)
    return plan.program.run("count", plan.cameras * plan.runs, CLUSTER, operands, [shape])[0]


def emit_pairs(plan: Plan, packed: Packed, counts: Array, offsets: Array, total: Array) -> list[Array]:
    """Keys and payloads of all pairs; with a gradient to come also where each Gaussian's pairs are."""
    pairs = jax.ShapeDtypeStruct((plan.pairs,), jnp.int32)
    results = [jax.ShapeDtypeStruct((plan.pairs,), jnp.uint32), pairs]
    operands = [packed.records, packed.poses, packed.cameras, packed.clusters, counts, offsets]
    aliases = {}
    if plan.paired:
        slots = jax.ShapeDtypeStruct((plan.cameras * plan.gaussians,), jnp.int32)
        operands.append(jnp.zeros(slots.shape, jnp.int32))
        results += [pairs, slots, slots]
        aliases = {6: 4}
    keys, *others = plan.program.run("emit", plan.cameras * plan.runs, CLUSTER, operands, results, aliases)
    unfilled = (total[None], keys)
    keys = plan.program.run("fill_rest", min(-(-plan.pairs // 256), 2048), 256, unfilled, [results[0]], {1: 0})[0]
    return [keys, *others]


def sort_pairs(keys: Array, payloads: Array) -> tuple[Array, Array]:
    """By region, then depth as far as the key holds it."""
    keys, payloads = lax.sort((keys, payloads), num_keys=1, is_stable=True)
    return keys, payloads


def order_pairs(plan: Plan, packed: Packed, keys: Array, payloads: Array, gaussian_of_pair: Array) -> list[Array]:
    """Payloads in exact order, where each region's run starts and, unless paired, the tiles that each pair reaches."""
    operands = [packed.records, packed.poses, packed.cameras, keys, payloads] + [gaussian_of_pair] * plan.paired
    pairs = (plan.pairs,)
    results = [
        jax.ShapeDtypeStruct(pairs, jnp.int32),
        jax.ShapeDtypeStruct((plan.cameras * plan.regions + 1,), jnp.int32),
    ] + [jax.ShapeDtypeStruct(pairs, jnp.uint32)] * (not plan.paired)
    return plan.program.run("order", -(-plan.pairs // 256), 256, operands, results)


def make_lists(plan: Plan, packed: Packed) -> Lists:
    """Everything up to the blend."""
    with jax.named_scope("count"):
        counts = count_pairs(plan, packed)
        flat = counts.reshape(-1)
        # What is needed may pass 2^31 though what there is room for does not.
        with jax.enable_x64(True):
            ends = jnp.cumsum(flat.astype(jnp.int64))
            offsets = jnp.minimum(ends - flat, plan.pairs).astype(jnp.int32)
            total = jnp.minimum(ends[-1], plan.pairs).astype(jnp.int32)
            overflow = ends.reshape(plan.cameras, plan.runs)[:, -1] > plan.pairs
    with jax.named_scope("emit"):
        keys, payloads, *kept = emit_pairs(plan, packed, counts, offsets, total)
    empty = jnp.zeros(0, jnp.int32)
    gaussian_of_pair, pair_start, pair_count = kept if plan.paired else (empty, empty, empty)
    with jax.named_scope("sort"):
        keys, payloads = sort_pairs(keys, payloads)
    with jax.named_scope("order"):
        payload, starts, *reached = order_pairs(plan, packed, keys, payloads, gaussian_of_pair)
    return Lists(
        payload=payload,
        starts=starts,
        reached=reached[0] if reached else jnp.zeros(0, jnp.uint32),
        gaussian_of_pair=gaussian_of_pair,
        pair_start=pair_start,
        pair_count=pair_count,
        overflow=overflow,
        pairs=jnp.sum(counts, axis=1, dtype=jnp.int32),
    )

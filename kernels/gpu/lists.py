"""Which splats each region draws, in order: emit, sort, order."""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, UInt32

from jaxrecon.kernels.arena import CLUSTER
from jaxrecon.kernels.gpu.packing import Packed
from jaxrecon.kernels.gpu.plan import Plan

SCANNERS, SETTLERS = 1024, 2048  # threads that add up counts; blocks that fill up the rest


@flax.struct.dataclass
class Lists:
    """Each region's splats, near to far.

    Attributes:
        payload: Gaussian of each sorted pair, or, with a gradient to come, the pair.
        starts: first pair of each region, and the end of the last.
        reached: bit p of entry 32 w + t: whether sorted pair 32 w + p reaches tile t of its region; empty with a
            gradient to come.
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


@flax.struct.dataclass
class Emitted:
    """All pairs, not yet in order.

    Attributes:
        keys: region and depth.
        payload: as in ``Lists``.
        gaussian_of_pair: likewise.
        pair_start: likewise.
        pair_count: likewise.
        overflow: likewise.
        pairs: likewise.
    """

    keys: UInt32[Array, " pair"]
    payload: Int[Array, " pair"]
    gaussian_of_pair: Int[Array, " pair"]
    pair_start: Int[Array, " slot"]
    pair_count: Int[Array, " slot"]
    overflow: Bool[Array, " camera"]
    pairs: Int[Array, " camera"]


def emit_pairs(plan: Plan, packed: Packed) -> Emitted:
    """Keys and payloads of all pairs; with a gradient to come also where each Gaussian's pairs are."""
    blocks = plan.cameras * plan.runs
    inputs = [packed.records, packed.poses, packed.cameras, packed.clusters]
    keys, pairs = (jax.ShapeDtypeStruct((plan.pairs,), dtype) for dtype in (jnp.uint32, jnp.int32))
    # Numbers of 64 bits, as two of 32: what is needed may pass 2^31, though what there is room for does not.
    total, per_camera = jax.ShapeDtypeStruct((2,), jnp.uint32), jax.ShapeDtypeStruct((plan.cameras, 2), jnp.uint32)
    operands, aliases = [*inputs, _zeros(total), _zeros(per_camera)], {4: 0, 5: 1}
    results = [total, per_camera, jax.ShapeDtypeStruct((blocks,), jnp.int32), keys, pairs]
    if plan.paired:
        slots = jax.ShapeDtypeStruct((plan.cameras * plan.gaussians,), jnp.int32)
        operands.append(_zeros(slots))
        results += [pairs, slots, slots]
        aliases[6] = 7
    _, needed, counts, *written = plan.program.run("emit", blocks, CLUSTER, operands, results, aliases)
    flags = [jax.ShapeDtypeStruct((plan.cameras,), dtype) for dtype in (jnp.int32, jnp.bool_)]
    ends, cameras_pairs, overflow = plan.program.run("sum_up", 1, SCANNERS, [needed], [per_camera, *flags])
    pair_count = written.pop() if plan.paired else _none()
    operands = [*inputs, counts, ends, *written]
    results = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in written]
    aliases = {6 + i: i for i in range(len(written))}
    written = plan.program.run("settle", min(blocks, SETTLERS), CLUSTER, operands, results, aliases)
    gaussian_of_pair, pair_start = written[2:] if plan.paired else (_none(), _none())
    return Emitted(written[0], written[1], gaussian_of_pair, pair_start, pair_count, overflow, cameras_pairs)


def _zeros(shape: jax.ShapeDtypeStruct) -> Array:
    return jnp.zeros(shape.shape, shape.dtype)


def _none() -> Int[Array, " none"]:
    return jnp.zeros(0, jnp.int32)


def sort_pairs(keys: Array, payloads: Array) -> tuple[Array, Array]:
    """By region, then depth as far as the key holds it."""
    keys, payloads = lax.sort((keys, payloads), num_keys=1, is_stable=True)
    return keys, payloads


def order_pairs(plan: Plan, packed: Packed, keys: Array, payloads: Array, gaussian_of_pair: Array) -> list[Array]:
    """Payloads in exact order, where each region's run starts and, unless paired, the tiles that each pair reaches."""
    pairs = jax.ShapeDtypeStruct((plan.pairs,), jnp.int32)
    results = [pairs, jax.ShapeDtypeStruct((plan.cameras * plan.regions + 1,), jnp.int32)]
    operands = [packed.records, packed.poses, packed.cameras, keys, payloads]
    if plan.paired:
        return plan.program.run("order", -(-plan.pairs // 256), 256, [*operands, gaussian_of_pair], results)
    reached = jnp.zeros(plan.pairs, jnp.uint32)
    results.append(jax.ShapeDtypeStruct(reached.shape, reached.dtype))
    return plan.program.run("order", -(-plan.pairs // 256), 256, [*operands, reached], results, {5: 2})


def make_lists(plan: Plan, packed: Packed) -> Lists:
    """Everything up to the blend."""
    with jax.named_scope("emit"):
        emitted = emit_pairs(plan, packed)
    with jax.named_scope("sort"):
        keys, payloads = sort_pairs(emitted.keys, emitted.payload)
    with jax.named_scope("order"):
        payload, starts, *reached = order_pairs(plan, packed, keys, payloads, emitted.gaussian_of_pair)
    return Lists(
        payload=payload,
        starts=starts,
        reached=reached[0] if reached else jnp.zeros(0, jnp.uint32),
        gaussian_of_pair=emitted.gaussian_of_pair,
        pair_start=emitted.pair_start,
        pair_count=emitted.pair_count,
        overflow=emitted.overflow,
        pairs=emitted.pairs,
    )

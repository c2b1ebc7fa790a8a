"""Work on many blocks, one group of them after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

Array = Any


def in_groups(
    function: Callable[..., Any],
    per_block: tuple[Any, ...],
    groups: int,
    load: Int[Array, " block"] | Float[Array, " block"] | None = None,
) -> Any:
    """``function(*per_block)`` of groups of equally many blocks, back in the order of the blocks.

    What is missing in the last group repeats a block.

    Args:
        function: of trees like ``per_block``, with as many rows as a group has; its answer has them too.
        per_block: trees whose leaves have a row a block.
        groups: how many, at most as many as there are blocks.
        load: where given, blocks of similar load come together.
    """
    blocks = len(jax.tree.leaves(per_block)[0])
    size = -(-blocks // groups)
    order = jnp.arange(blocks) if load is None else jnp.argsort(load)
    order = jnp.concatenate([order, jnp.repeat(order[-1:], groups * size - blocks)])
    back = jnp.zeros(blocks, jnp.int32).at[order].set(jnp.arange(groups * size, dtype=jnp.int32))

    def group(chosen: Any) -> Any:
        return function(*jax.tree.map(lambda leaf: leaf[chosen], per_block))

    found = jax.lax.map(group, order.reshape(groups, size))
    return jax.tree.map(lambda leaf: leaf.reshape(groups * size, *leaf.shape[2:])[back], found)

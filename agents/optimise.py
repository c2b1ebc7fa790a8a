"""One guarded step of Adam, shared by imitation and PPO, over those of a policy's parameters that are learned."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from jaxrecon.agents.normalisers import FIXED

Scalar = Any  # a number or a traced scalar


class NonFiniteError(RuntimeError):
    """Training was stopped because losses or gradients stayed NaN or infinite."""


class InvalidBatchError(RuntimeError):
    """Training was stopped because no step of an update belongs to an episode."""


@dataclasses.dataclass(frozen=True)
class Partition:
    """Which leaves of a policy are learned.

    Attributes:
        moving: one flag a leaf, in the policy's order.
    """

    moving: tuple[bool, ...]

    def learned(self, policy: Any) -> list[Array]:
        """The leaves that are learned."""
        return [leaf for leaf, moves in zip(jax.tree.leaves(policy), self.moving, strict=True) if moves]

    def joined(self, policy: Any, learned: Sequence[Array]) -> Any:
        """The policy with other leaves in place of those that are learned."""
        leaves, structure = jax.tree.flatten(policy)
        new = iter(learned)
        return jax.tree.unflatten(
            structure, [next(new) if moves else leaf for leaf, moves in zip(leaves, self.moving, strict=True)]
        )


def owned(tree: Any) -> Any:
    """Every leaf in a buffer of its own, for whoever trains gives its buffers away.

    Leaves have the types that compiled functions return: a weak one would compile the first call twice.
    """

    def copied(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jnp.copy(leaf) if is_key else jnp.array(leaf, leaf.dtype, copy=True)

    return jax.tree.map(copied, tree)


def partition(policy: Any, frozen: Sequence[str] = ()) -> Partition:
    """All leaves of a policy but its running moments and those below a part of a frozen name.

    Raises:
        ValueError: when the policy has no part of that name, or nothing is left to learn.
    """
    paths = [[_name(key) for key in path] for path, _ in jax.tree_util.tree_leaves_with_path(policy)]
    missing = [name for name in frozen if not any(name in path for path in paths)]
    if missing:
        raise ValueError(f"the policy has no part named {missing} that could be frozen; its parts are {_parts(paths)}")
    moving = tuple(not any(name in (*FIXED, *frozen) for name in path) for path in paths)
    if not any(moving):
        raise ValueError(f"with {list(frozen)} frozen the policy has nothing left to learn")
    return Partition(moving)


def _name(key: Any) -> str:
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))


def _parts(paths: list[list[str]]) -> list[str]:
    return sorted({name for path in paths for name in path if not name.isdigit()})


def transformation(gradient_norm: Scalar, weight_decay: Scalar = 0.0) -> optax.GradientTransformation:
    """Clip by the global norm, Adam's direction, decoupled weight decay; ``guarded_step`` sizes the step."""
    # One flat vector: far fewer operations to compile and to launch than leaf by leaf.
    return optax.flatten(
        optax.chain(
            optax.clip_by_global_norm(gradient_norm),
            optax.scale_by_adam(eps=1e-5),
            optax.add_decayed_weights(weight_decay),
        )
    )


def guarded_step(
    transform: optax.GradientTransformation,
    parameters: Any,
    optimiser: Any,
    gradients: Any,
    loss: Float[Array, ""],
    learning_rate: Scalar,
) -> tuple[Any, Any, Float[Array, ""], Bool[Array, ""]]:
    """Step down the gradient, or do nothing at all when the loss or a gradient is not finite.

    Args:
        transform: from ``transformation``.
        parameters: pytree of arrays.
        optimiser: the transformation's state.
        gradients: of ``loss`` by ``parameters``.
        loss: the value that was differentiated.
        learning_rate: step size.

    Returns:
        Parameters, optimiser state, norm of the gradients before clipping, and whether the step was taken.
    """
    norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(norm) & jnp.isfinite(loss)
    updates, stepped = transform.update(gradients, optimiser, parameters)
    moved = jax.tree.map(lambda p, u: p - learning_rate * u, parameters, updates)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), (moved, stepped), (parameters, optimiser))
    return kept[0], kept[1], norm, finite

"""The loss of imitation: focal, class-balanced cross-entropy of both heads with demonstrated anchors."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.agents import heads, optimise
from jaxrecon.agents.networks import PolicyOutput
from jaxrecon.agents.returns import masked_mean


@flax.struct.dataclass
class ImitationParams:
    """Numbers that may be swept without a new compilation.

    Attributes:
        learning_rate: of the first step; it falls to zero along half a cosine.
        weight_decay: decoupled, per step and unit of learning rate.
        gradient_norm: gradients are clipped to it.
        label_width: standard deviation, in anchors, of the Gaussian that a label is spread over: neighbouring anchors
            are a few centimetres apart, so nearly right is worth something. An anchor that is infeasible gets nothing;
            where the label itself is, the nearest feasible ones take its place.
        focal: exponent of (1 - p(label)), which turns attention to rows that are still wrong; 0 is plain cross-entropy.
        class_balance: beta in [0, 1) of the effective number of samples (1 - beta^n) / (1 - beta); 0 weights all rows
            alike, towards 1 each anchor that occurs counts the same.

    Source:
        Lin et al. 2017 (focal loss), Cui et al. 2019 (effective number of samples).
    """

    learning_rate: Any = 1e-3
    weight_decay: Any = 1e-3
    gradient_norm: Any = 1.0
    label_width: Any = 1.0
    focal: Any = 1.0
    class_balance: Any = 0.9


DEFAULT_IMITATION = ImitationParams()
UNFOCUSED_IMITATION = ImitationParams(focal=0.0)


def soft_labels(
    logits: Float[Array, "*b anchor"], label: Int[Array, "*b"], width: optimise.Scalar
) -> Float[Array, "*b anchor"]:
    """A label spread over the feasible anchors around it as a Gaussian of ``width`` anchors."""
    distance = (jnp.arange(logits.shape[-1]) - label[..., None]) / width
    feasible = logits > heads.MASKED / 2
    return jax.nn.softmax(heads.mask_logits(-0.5 * distance**2, feasible))


def class_weights(
    label: Int[Array, " b"], valid: Bool[Array, " b"], anchors: int, beta: optimise.Scalar
) -> Float[Array, " anchor"]:
    """Weight of each anchor by its effective number of samples; the mean over the valid rows is 1."""
    count = jnp.zeros((anchors,)).at[label].add(valid.astype(jnp.float32))
    weight = jnp.where(count > 0, (1 - beta) / jnp.maximum(1 - beta ** jnp.maximum(count, 1.0), 1e-6), 0.0)
    return weight / jnp.maximum(masked_mean(weight[label], valid), 1e-6)


def imitation_loss(
    output: PolicyOutput,
    action: Int[Array, "b 2"],
    valid: Bool[Array, " b"],
    params: ImitationParams,
    weights: tuple[Float[Array, " lateral"], Float[Array, " longitudinal"]] | None = None,
) -> Float[Array, ""]:
    """Focal cross-entropy of the demonstrated anchors, nats, summed over the two heads.

    Args:
        output: of the policy on the demonstrated observations.
        action: demonstrated anchors (lateral, longitudinal).
        valid: rows that count.
        params: label width and focal exponent.
        weights: of each head's anchors, from ``class_weights``; None weights all alike.
    """
    loss = jnp.zeros(())
    for i, logits in enumerate(output.logits):
        label = action[:, i]
        entropy = heads.cross_entropy(logits, soft_labels(logits, label, params.label_width))
        # The focus is no part of the aim: with its gradient, certainty would pay more than the spread label.
        missing = jax.lax.stop_gradient(jnp.clip(1 - jnp.exp(heads.log_prob(logits, label)), 1e-6, 1.0))
        weight = 1.0 if weights is None else weights[i][label]
        loss += masked_mean(weight * missing**params.focal * entropy, valid)
    return loss


def action_of(demonstrations: Any) -> Int[Array, "b 2"]:
    """Labels of both heads as one action."""
    return jnp.stack([demonstrations.lateral, demonstrations.longitudinal], axis=-1).astype(jnp.int32)


def usable(demonstrations: Any) -> Any:
    """The valid rows of demonstrations, on the host.

    Raises:
        ValueError: when there is no row, none is valid, or a valid one holds NaN or infinity.
    """
    valid = np.asarray(demonstrations.valid)
    if not valid.any():
        raise ValueError(
            f"demonstrations have {valid.size} rows and none is valid: the log is shorter than the 0.5 s that a label "
            "looks ahead, or its poses were rejected"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(demonstrations):
        values = np.asarray(leaf).reshape(valid.size, -1)
        if np.issubdtype(values.dtype, np.floating):
            bad = np.flatnonzero(valid & ~np.isfinite(values).all(axis=1))
            if bad.size:
                name = jax.tree_util.keystr(path, simple=True, separator=".")
                raise ValueError(
                    f"demonstrations.{name} of row {bad[0]} is {values[bad[0]].tolist()} ({bad.size} such rows), "
                    "expected finite numbers: mark the rows invalid or correct the log's poses"
                )
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[valid]), demonstrations)

"""The loss of imitation: focal, class-balanced cross-entropy of both heads with what was demonstrated."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.agents import heads, optimise
from jaxrecon.agents.outputs import HEADS, ContinuousOutput, Output
from jaxrecon.agents.returns import masked_mean
from jaxrecon.dynamics import VehicleState, to_control


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
    output: Output,
    action: Int[Array, "b 2"],
    valid: Bool[Array, " b"],
    params: ImitationParams,
    weights: tuple[Float[Array, " lateral"], Float[Array, " longitudinal"]] | None = None,
    ego: Float[Array, "b 4"] | None = None,
) -> Float[Array, ""]:
    """Focal cross-entropy of the demonstrated anchors, nats, summed over the two heads.

    Continuous heads are fitted to the acceleration and steering that lead to the anchors' point, by their negative
    log-likelihood, balanced alike; certainty is no reason there to look away from a row, so there is no focus.

    Args:
        output: of the policy on the demonstrated observations.
        action: demonstrated anchors (lateral, longitudinal).
        valid: rows that count.
        params: label width and focal exponent.
        weights: of each head's anchors, from ``class_weights``; None weights all alike.
        ego: state of the demonstrated observations, see ``Observation``; only continuous heads need it.

    Raises:
        ValueError: if the heads are continuous and no ego state is given.
    """
    if isinstance(output, ContinuousOutput):
        if ego is None:
            raise ValueError("imitation of continuous actions needs the ego state that they start from; give ego")
        rows = -output.log_prob(controls_of(action, ego))
    else:
        rows = jnp.stack([_focal(output.logits[i], action[:, i], params) for i in range(len(HEADS))], axis=-1)
    loss = jnp.zeros(())
    for i in range(len(HEADS)):
        weight = 1.0 if weights is None else weights[i][action[:, i]]
        loss += masked_mean(weight * rows[:, i], valid)
    return loss


def _focal(logits: Float[Array, "b anchor"], label: Int[Array, " b"], params: ImitationParams) -> Float[Array, " b"]:
    entropy = heads.cross_entropy(logits, soft_labels(logits, label, params.label_width))
    # The focus is no part of the aim: with its gradient, certainty would pay more than the spread label.
    missing = jax.lax.stop_gradient(jnp.clip(1 - jnp.exp(heads.log_prob(logits, label)), 1e-6, 1.0))
    return missing**params.focal * entropy


def controls_of(action: Int[Array, "b 2"], ego: Float[Array, "b 4"]) -> Float[Array, "b 2"]:
    """Acceleration (m/s2) and steering (rad) towards an anchor pair, of a car with the common wheelbase."""
    none = jnp.zeros(ego.shape[0])
    vehicle = VehicleState(
        position=jnp.zeros((ego.shape[0], 2)), yaw=none, speed=ego[:, 0], acceleration=ego[:, 1], steering=ego[:, 2]
    )
    return jnp.stack(to_control(action[:, 0], action[:, 1], vehicle), axis=-1)

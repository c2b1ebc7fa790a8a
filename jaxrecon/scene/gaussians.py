"""A set of Gaussians with raw (unconstrained) parameters, as the optimiser and the files hold them."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.geometry.transforms import quaternion_to_matrix

SH_C0 = 0.28209479177387814  # the constant spherical harmonic, 1 / (2 sqrt(pi))


@flax.struct.dataclass
class Gaussians:
    """Gaussians of fixed capacity; invalid slots hold identity values, never zeros.

    Attributes:
        means: centre, metres, in the frame of the set (world, or an actor's box).
        quaternions: ``wxyz``, any non-zero norm.
        log_scales: natural logarithm of the standard deviation along each axis, metres.
        opacity_logits: opacity before the sigmoid.
        sh: spherical-harmonic colour, (degree + 1)^2 coefficients of three channels in the order of 3DGS;
            a Gaussian's colour in direction d is max(0, 0.5 + sum_k sh_k Y_k(d)).
        valid: slots in use.
    """

    means: Float[Array, "n 3"]
    quaternions: Float[Array, "n 4"]
    log_scales: Float[Array, "n 3"]
    opacity_logits: Float[Array, " n"]
    sh: Float[Array, "n k 3"]
    valid: Bool[Array, " n"]

    @property
    def capacity(self) -> int:
        """Number of slots, used or not."""
        return self.means.shape[0]

    @property
    def scales(self) -> Float[Array, "n 3"]:
        """Standard deviation along each axis, metres."""
        return jnp.exp(self.log_scales)

    @property
    def opacities(self) -> Float[Array, " n"]:
        """Opacity in (0, 1); zero in invalid slots."""
        return jnp.where(self.valid, jax.nn.sigmoid(self.opacity_logits), 0.0)

    @property
    def covariances(self) -> Float[Array, "n 3 3"]:
        """Covariance, square metres."""
        axes = quaternion_to_matrix(self.quaternions) * self.scales[:, None, :]
        return axes @ jnp.swapaxes(axes, -1, -2)


def empty(capacity: int, sh_degree: int = 0) -> Gaussians:
    """Capacity without content: every slot is invalid and holds identity values."""
    return Gaussians(
        means=jnp.zeros((capacity, 3)),
        quaternions=jnp.tile(jnp.array([1.0, 0.0, 0.0, 0.0]), (capacity, 1)),
        log_scales=jnp.zeros((capacity, 3)),
        opacity_logits=jnp.zeros((capacity,)),
        sh=jnp.zeros((capacity, (sh_degree + 1) ** 2, 3)),
        valid=jnp.zeros((capacity,), bool),
    )


def concatenate(sets: list[Gaussians]) -> Gaussians:
    """One set that holds all slots of the given ones, in order (equal spherical-harmonic degree)."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *sets)

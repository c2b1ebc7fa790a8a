"""Real spherical harmonics up to degree three, in the order and with the signs of 3DGS."""

import math

import numpy as np
from jaxtyping import Float

_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
_C3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)


def basis(directions: Float[np.ndarray, "n 3"], degree: int) -> Float[np.ndarray, "n k"]:
    """Values of the (degree + 1)^2 basis functions in unit directions.

    Raises:
        ValueError: if the degree is not 0, 1, 2 or 3.
    """
    if degree not in (0, 1, 2, 3):
        raise ValueError(f"spherical harmonics of degree 0 to 3 are supported; received {degree}")
    x, y, z = directions.T
    xx, yy, zz = x * x, y * y, z * z
    values = [np.full_like(x, 0.28209479177387814), -_C1 * y, _C1 * z, -_C1 * x]
    values += [_C2[0] * x * y, _C2[1] * y * z, _C2[2] * (2 * zz - xx - yy), _C2[3] * x * z, _C2[4] * (xx - yy)]
    values += [
        _C3[0] * y * (3 * xx - yy),
        _C3[1] * x * y * z,
        _C3[2] * y * (4 * zz - xx - yy),
        _C3[3] * z * (2 * zz - 3 * xx - 3 * yy),
        _C3[4] * x * (4 * zz - xx - yy),
        _C3[5] * z * (xx - yy),
        _C3[6] * x * (xx - 3 * yy),
    ]
    return np.stack(values[: (degree + 1) ** 2], axis=-1)


def rotate(sh: Float[np.ndarray, "n k 3"], rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n k 3"]:
    """Coefficients of the same colours seen in a rotated frame: f'(R d) = f(d).

    The harmonics of one degree span a rotation-invariant space, so the linear map is found exactly by solving for it
    on more directions than there are coefficients.
    """
    degree = math.isqrt(sh.shape[1]) - 1
    if degree == 0:
        return sh
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    target_from_source = np.linalg.lstsq(basis(directions @ rotation.T, degree), basis(directions, degree), rcond=None)[
        0
    ]
    return np.einsum("lk,nkc->nlc", target_from_source, sh).astype(sh.dtype)

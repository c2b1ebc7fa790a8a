"""What the exporters share: Gaussians gathered on the host, and files that appear whole or not at all."""

import os
import pathlib
from collections.abc import Callable
from typing import Any, BinaryIO

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxrecon.geometry.transforms import matrix_to_quaternion
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.harmonics import rotate
from jaxrecon.scene.scene import Scene

Array = Any  # a NumPy or a JAX array


def body(scene: Scene, group: int) -> Gaussians:
    """The valid Gaussians of one rigid body in its own frame, in the order of their slots.

    Args:
        scene: the world.
        group: 0 for the static background (world frame), a for actor a - 1 (its box frame).

    Returns:
        Gaussians whose leaves are NumPy arrays.
    """
    chosen = np.asarray(scene.gaussians.valid) & (np.asarray(scene.group) == group)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], scene.gaussians)


def snapshot(
    scene: Scene,
    world_from_actor: Float[Array, "actor 4 4"] | None = None,
    actor_valid: Bool[Array, " actor"] | None = None,
) -> Gaussians:
    """The static background, and the actors where poses are given, as one set in the world frame.

    Args:
        scene: the world; invalid slots and the sky are left out.
        world_from_actor: box poses of one moment; without them actors are left out.
        actor_valid: actors present at that moment; all of them where it is absent.

    Returns:
        Gaussians whose leaves are NumPy arrays: the background first, then actor by actor.
    """
    sets = [body(scene, 0)]
    for actor in range(scene.actors if world_from_actor is not None else 0):
        if actor_valid is None or bool(actor_valid[actor]):
            pose = np.asarray(world_from_actor[actor], dtype=np.float64)  # type: ignore[index]
            sets.append(_posed(body(scene, actor + 1), pose))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *sets)


def with_degree(gaussians: Gaussians, coefficients: int) -> Gaussians:
    """The same colours in at least as many spherical-harmonic coefficients; the new ones are zero."""
    sh = np.asarray(gaussians.sh)
    padding = np.zeros((len(sh), coefficients - sh.shape[1], 3), sh.dtype)
    return gaussians.replace(sh=np.concatenate([sh, padding], axis=1))  # type: ignore[attr-defined]


def write_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object], overwrite: bool) -> None:
    """Write a file so that it is complete as soon as it is at ``path``.

    Args:
        path: the file.
        write: puts the content into the stream that it is given.
        overwrite: replace a file that exists.

    Raises:
        FileExistsError: if the file exists and ``overwrite`` is false.
    """
    target = pathlib.Path(path)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; choose another path or pass overwrite=True")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _posed(gaussians: Gaussians, pose: np.ndarray) -> Gaussians:
    """Gaussians moved by a rigid pose (4, 4)."""
    if np.array_equal(pose, np.eye(4)):
        return gaussians
    turn = pose[:3, :3]
    means = gaussians.means @ turn.T + pose[:3, 3]
    quaternions = _multiply(matrix_to_quaternion(turn), np.asarray(gaussians.quaternions))
    return gaussians.replace(  # type: ignore[attr-defined]
        means=np.asarray(means, np.float32),
        quaternions=np.asarray(quaternions, np.float32),
        sh=rotate(np.asarray(gaussians.sh), turn),
    )


def _multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Product of a quaternion ``wxyz`` with each of many."""
    w, x, y, z = left
    matrix = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return right @ matrix.T

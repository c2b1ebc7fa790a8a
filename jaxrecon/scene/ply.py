"""Gaussians as PLY files in the convention of 3DGS, which other splat viewers and tools read."""

import os
import pathlib
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np
import plyfile
from jaxtyping import Bool, Float

from jaxrecon.scene.exporting import snapshot, write_file
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.scene import Scene

Array = Any  # a NumPy or a JAX array

_FIXED_BEFORE = ("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2")
_FIXED_AFTER = ("opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))
_REST_COUNTS = {0: 0, 9: 1, 24: 2, 45: 3}  # number of f_rest properties -> spherical-harmonic degree


class PlyError(ValueError):
    """A PLY file that cannot be read as Gaussians; the message names the file, the fault and the remedy."""


def write_ply(
    scene: Scene,
    path: str | os.PathLike[str],
    world_from_actor: Float[Array, "actor 4 4"] | None = None,
    actor_valid: Bool[Array, " actor"] | None = None,
    overwrite: bool = False,
) -> int:
    """Write the static background, and the actors where poses are given, as one binary PLY file.

    Args:
        scene: the world; invalid slots and the sky are left out, as the format has no place for them.
        path: file to write; it appears whole or not at all.
        world_from_actor: box poses of one moment; without them actors are left out.
        actor_valid: actors present at that moment; all of them where it is absent.
        overwrite: replace a file that exists.

    Returns:
        How many Gaussians were written.

    Raises:
        FileExistsError: if the file exists and ``overwrite`` is false.
    """
    gaussians = snapshot(scene, world_from_actor, actor_valid)
    write_file(path, lambda stream: write_vertices(gaussians, stream), overwrite)
    return gaussians.capacity


def write_vertices(gaussians: Gaussians, stream: BinaryIO) -> None:
    """Write every slot of a set, valid or not, as a binary PLY file into a stream."""
    means, sh = np.asarray(gaussians.means), np.asarray(gaussians.sh)
    rest = 3 * (sh.shape[1] - 1)
    columns = [
        means,
        np.zeros_like(means),
        sh[:, 0],
        sh[:, 1:].transpose(0, 2, 1).reshape(len(sh), rest),
        np.asarray(gaussians.opacity_logits)[:, None],
        np.asarray(gaussians.log_scales),
        np.asarray(gaussians.quaternions),
    ]
    names = (*_FIXED_BEFORE, *(f"f_rest_{i}" for i in range(rest)), *_FIXED_AFTER)
    table = np.ascontiguousarray(np.concatenate(columns, axis=1), dtype="<f4")
    vertices = table.view([(name, "<f4") for name in names]).reshape(len(table))
    plyfile.PlyData([plyfile.PlyElement.describe(vertices, "vertex")], byte_order="<").write(stream)


def read_ply(path: str | os.PathLike[str]) -> Gaussians:
    """Read Gaussians, all of them valid, from a PLY file in the convention of 3DGS.

    Raises:
        PlyError: if the file is missing, truncated, no PLY, lacks a property or holds a value that is not finite.
    """
    source = pathlib.Path(path)
    try:
        with open(source, "rb") as stream:
            data = plyfile.PlyData.read(stream)
    except FileNotFoundError as error:
        raise PlyError(f"{source}: there is no such file; check the path") from error
    except (plyfile.PlyParseError, UnicodeDecodeError, ValueError, OSError) as error:
        raise PlyError(f"{source}: not a whole PLY file ({error}); export it again") from error
    if "vertex" not in data:
        found = [element.name for element in data.elements]
        raise PlyError(f"{source}: expected an element 'vertex', found {found}; is this a 3DGS export?")
    vertices = data["vertex"].data
    rest = sum(name.startswith("f_rest_") for name in vertices.dtype.names)
    if rest not in _REST_COUNTS:
        raise PlyError(f"{source}: {rest} f_rest properties, expected one of {sorted(_REST_COUNTS)}")
    needed = [*_FIXED_BEFORE[:3], *_FIXED_BEFORE[6:], *(f"f_rest_{i}" for i in range(rest)), *_FIXED_AFTER]
    missing = [name for name in needed if name not in vertices.dtype.names]
    if missing:
        raise PlyError(f"{source}: vertex lacks the properties {missing}; is this a 3DGS export?")
    columns = {name: np.asarray(vertices[name], dtype=np.float32) for name in needed}
    for name, column in columns.items():
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            raise PlyError(f"{source}: {name} of vertex {bad[0]} is {column[bad[0]]}, expected a finite number")
    return _gaussians(columns, rest)


def _gaussians(columns: dict[str, np.ndarray], rest: int) -> Gaussians:
    """Gaussians from named float columns."""

    def stack(*names: str) -> np.ndarray:
        return np.stack([columns[name] for name in names], axis=-1)

    constant = stack("f_dc_0", "f_dc_1", "f_dc_2")[:, None, :]
    parts = [constant]
    if rest:
        channel_major = stack(*(f"f_rest_{i}" for i in range(rest))).reshape(len(constant), 3, rest // 3)
        parts.append(channel_major.transpose(0, 2, 1))
    return Gaussians(
        means=jnp.asarray(stack("x", "y", "z")),
        quaternions=jnp.asarray(stack("rot_0", "rot_1", "rot_2", "rot_3")),
        log_scales=jnp.asarray(stack("scale_0", "scale_1", "scale_2")),
        opacity_logits=jnp.asarray(columns["opacity"]),
        sh=jnp.asarray(np.concatenate(parts, axis=1)),
        valid=jnp.ones(len(constant), bool),
    )

"""Gaussians as SPZ files, the compressed format that viewers on the web read.

A file is gzip of a header of 16 bytes and then six blocks, each over all Gaussians: positions, alphas, colours, scales,
rotations, harmonics; ``spz_fields`` has their encodings.

Axes: by convention a PLY of 3DGS has its axes right, down, front and an SPZ file right, up, back, and the converters
between them flip y and z whatever the scene's axes really are. So do ``write_spz`` and ``read_spz``: a scene written as
SPZ is the same as one written as PLY and converted, and lies in a viewer as its PLY does. ``axes`` says otherwise.

Source: github.com/nianticlabs/spz, README.md and src/cc/load-spz.cc.
"""

import dataclasses
import gzip
import os
import pathlib
import struct
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxrecon.scene import spz_fields
from jaxrecon.scene.exporting import snapshot, write_file
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.scene import Scene

Array = Any  # a NumPy or a JAX array

MAGIC = 0x5053474E  # "NGSP" as little-endian bytes
_HEADER = struct.Struct("<IIIBBBB")  # magic, version, count, degree, fractional bits, flags, reserved
_COORDINATES = 0xADBE0003  # the extension that says which axes a file has
_HAS_EXTENSIONS = 0x2
_MOST_EXTENSIONS = 1 << 20  # bytes of them that are read
_MOST_COMPRESSION = 1032  # bytes that one byte of gzip can become
_RIGHT_UP_BACK = 4


class SpzError(ValueError):
    """An SPZ file that cannot be read, or Gaussians that it cannot hold; says where, what and the remedy."""


def _check_axes(axes: tuple[int, int, int]) -> None:
    if len(axes) != 3 or any(sign not in (1, -1) for sign in axes):
        raise ValueError(f"axes is {axes}, expected three signs, 1 or -1")


@dataclasses.dataclass(frozen=True)
class SpzConfig:
    """How a file is written.

    Attributes:
        version: 3 keeps rotations to 0.25 degrees, and viewers released since autumn 2025 read it; 2, which older ones
            need, keeps them to 1 degree on average and 12 at worst. (4 is compressed with Zstandard and not written.)
        degree_one_bits: precision of the three coefficients of degree one; fewer bits compress better.
        higher_bits: precision of all others.
        axes: sign of each of the scene's axes in the file.
    """

    version: int = 3
    degree_one_bits: int = 5
    higher_bits: int = 4
    axes: tuple[int, int, int] = (1, -1, -1)

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: naming the field at fault.
        """
        if self.version not in (2, 3):
            raise ValueError(f"version is {self.version}, expected 2 or 3")
        for field in ("degree_one_bits", "higher_bits"):
            if not 1 <= getattr(self, field) <= 8:
                raise ValueError(f"{field} is {getattr(self, field)}, expected 1 to 8")
        _check_axes(self.axes)


@dataclasses.dataclass(frozen=True)
class _Header:
    version: int
    count: int
    degree: int
    fractional_bits: int
    flags: int

    def widths(self) -> dict[str, int]:
        """Bytes of a Gaussian in each block, in the order of the file."""
        positions, rotations = (6 if self.version == 1 else 9), (4 if self.version == 3 else 3)
        harmonics = 3 * ((self.degree + 1) ** 2 - 1)
        return {"positions": positions, "alphas": 1, "colours": 3, "scales": 3, "rotations": rotations,
                "harmonics": harmonics}  # fmt: skip


def write_spz(
    scene: Scene,
    path: str | os.PathLike[str],
    world_from_actor: Float[Array, "actor 4 4"] | None = None,
    actor_valid: Bool[Array, " actor"] | None = None,
    overwrite: bool = False,
    config: SpzConfig = SpzConfig(),
) -> int:
    """Write the static background, and the actors where poses are given, as one SPZ file.

    Kept to: positions 0.12 mm up to 2 km from the origin (then half as well with each doubling), scales 3 percent
    between 45 micrometres and 400 m, opacities 0.002, constant coefficients 0.013 within +-3.3, others half a step of
    2^(1 - bits) within +-1; what lies beyond a range becomes its end.

    Args:
        scene: the world; invalid slots and the sky are left out, as the format has no place for them.
        path: file to write; it appears whole or not at all.
        world_from_actor: box poses of one moment; without them actors are left out.
        actor_valid: actors present at that moment; all of them where it is absent.
        overwrite: replace a file that exists.
        config: version, precision and axes.

    Returns:
        How many Gaussians were written.

    Raises:
        FileExistsError: if the file exists and ``overwrite`` is false.
        SpzError: if there is no Gaussian, one holds a value that is not finite, or one lies further than 8000 km away.
    """
    gaussians = snapshot(scene, world_from_actor, actor_valid)
    if gaussians.capacity == 0:
        raise SpzError(f"{path}: no Gaussian to write and SPZ has no empty files; pass poses to write actors")
    _check(gaussians, path, "correct the scene")
    bits = spz_fields.fractional_bits(np.asarray(gaussians.means))
    if bits < 0:
        far = float(np.abs(gaussians.means).max())
        raise SpzError(f"{path}: a Gaussian lies {far:.3g} m out, expected less than {2**23} m; recentre the scene")
    degree = {1: 0, 4: 1, 9: 2, 16: 3}[gaussians.sh.shape[1]]
    count = gaussians.capacity
    blocks = spz_fields.encode(
        gaussians, bits, config.version, np.array(config.axes), config.degree_one_bits, config.higher_bits
    )
    header = _HEADER.pack(MAGIC, config.version, count, degree, bits, 0, 0)
    content = b"".join([header, *(block.tobytes() for block in blocks)])
    packed = gzip.compress(content, compresslevel=6, mtime=0)
    write_file(path, lambda stream: stream.write(packed), overwrite)
    return count


def read_spz(path: str | os.PathLike[str], axes: tuple[int, int, int] = (1, -1, -1)) -> Gaussians:
    """Read Gaussians, all of them valid, from an SPZ file of version 1, 2 or 3.

    Args:
        path: the file.
        axes: sign of each of the scene's axes in the file, as it was written.

    Raises:
        SpzError: if the file is missing, truncated, damaged, no SPZ file, of another version or degree, promises
            more Gaussians than it can hold, or holds a value that is not finite.
    """
    _check_axes(axes)
    source = pathlib.Path(path)
    try:
        packed = source.read_bytes()
    except OSError as error:
        raise SpzError(f"{source}: cannot be read ({error}); check the path") from error
    header, content = _inflate(source, packed)
    blocks, start = {}, 0
    for name, width in header.widths().items():
        stop = start + header.count * width
        blocks[name] = np.frombuffer(content, np.uint8, stop - start, start).reshape(header.count, width)
        start = stop
    gaussians = spz_fields.decode(blocks, header.fractional_bits, header.version, np.array(axes))
    _check(gaussians, source, "export it again")
    return jax.tree.map(jnp.asarray, gaussians)


def _inflate(source: pathlib.Path, packed: bytes) -> tuple[_Header, bytes]:
    """The header and what follows it, never more than the header promises: small files can inflate without end."""
    if packed[:4] == _HEADER.pack(MAGIC, 0, 0, 0, 0, 0, 0)[:4]:
        version = int.from_bytes(packed[4:8], "little")
        raise SpzError(f"{source}: SPZ version {version}, expected 1 to 3 (gzip); save it as version 3")
    if packed[:2] != b"\x1f\x8b":
        raise SpzError(f"{source}: begins with {packed[:4]!r}, expected gzip (1f 8b); is this an SPZ file?")
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        header = _header(source, inflate.decompress(packed, _HEADER.size), len(packed))
        size = header.count * sum(header.widths().values())
        extensions = _MOST_EXTENSIONS if header.flags & _HAS_EXTENSIONS else 1
        content = inflate.decompress(inflate.unconsumed_tail, size + extensions)
    except zlib.error as error:
        raise SpzError(f"{source}: damaged ({error}); copy or export it again") from error
    if len(content) < size or (len(content) == size and not inflate.eof):
        raise SpzError(f"{source}: ends after {len(content)} bytes of {size}; copy or export it again")
    if len(content) > size and not header.flags & _HAS_EXTENSIONS:
        raise SpzError(
            f"{source}: holds more than the {size} bytes of the {header.count} Gaussians that its header counts; "
            "export it again"
        )
    _check_extensions(source, content[size:])
    return header, content[:size]


def _header(source: pathlib.Path, data: bytes, packed_size: int) -> _Header:
    if len(data) < _HEADER.size:
        raise SpzError(
            f"{source}: ends within its header, after {len(data)} of {_HEADER.size} bytes; copy or export it again"
        )
    magic, version, count, degree, bits, flags, _ = _HEADER.unpack(data)
    if magic != MAGIC:
        raise SpzError(f"{source}: magic number {magic:#010x}, expected {MAGIC:#010x}; is this an SPZ file?")
    if version not in (1, 2, 3):
        raise SpzError(f"{source}: SPZ version {version}, expected 1 to 3 (gzip); save it as version 3")
    if degree > 3:
        raise SpzError(f"{source}: spherical harmonics of degree {degree}, expected 0 to 3; save it with degree 3")
    if bits > 24:
        raise SpzError(f"{source}: {bits} fractional bits in numbers of 24, expected 0 to 24; export it again")
    header = _Header(version, count, degree, bits, flags)
    if count == 0 or count * sum(header.widths().values()) > packed_size * _MOST_COMPRESSION:
        raise SpzError(
            f"{source}: counts {count} Gaussians, expected 1 to what {packed_size} bytes can hold; export it again"
        )
    return header


def _check_extensions(source: pathlib.Path, records: bytes) -> None:
    """Extensions are skipped, but for one: other axes than usual change what every block means."""
    while len(records) >= 8:
        kind, length = struct.unpack_from("<II", records)
        value, records = records[8 : 8 + length], records[8 + length :]
        system = int.from_bytes(value[:4], "little")
        if kind == _COORDINATES and system not in (0, _RIGHT_UP_BACK):
            raise SpzError(
                f"{source}: stored in coordinate system {system}, expected {_RIGHT_UP_BACK} (right, up, back); "
                "save it without the extension SPZ_ADOBE_coordinate_system"
            )


def _check(gaussians: Gaussians, path: str | os.PathLike[str], remedy: str) -> None:
    """All values are finite, and rotations of some norm."""
    for name in ("means", "quaternions", "log_scales", "opacity_logits", "sh"):
        value = np.asarray(getattr(gaussians, name))
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            raise SpzError(
                f"{path}: {name} of Gaussian {bad[0][0]} is {value[tuple(bad[0])]}, expected a finite number; {remedy}"
            )
    zero = np.flatnonzero(np.linalg.norm(gaussians.quaternions, axis=1) < 1e-12)
    if len(zero):
        raise SpzError(f"{path}: quaternions of Gaussian {zero[0]} is zero, expected a non-zero norm; {remedy}")

"""Text and calibration files of a KITTI raw drive: read whole, checked, never guessed at."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxrecon.geometry import transforms
from jaxrecon.logs.errors import LogError

# Rotations are printed with seven digits at most, so honest files are orthonormal to about 1e-6.
PRINTED_ROTATION_TOLERANCE = 1e-4
COPY_AGAIN = "Copy the file again from the original recording"


def read_lines(file: pathlib.Path, field: str) -> list[str]:
    """Lines of a text file, which has to end with a whole one, without trailing blank ones."""
    try:
        text = file.read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        problem = f"is not a text file ({error.reason} at byte {error.start})"
        raise LogError(problem, file=file, field=field, remedy=COPY_AGAIN) from error
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise LogError(problem, file=file, field=field, remedy="Add the missing file") from error
    if not text.strip():
        raise LogError("is empty", file=file, field=field, remedy=COPY_AGAIN)
    if not text.endswith("\n"):
        problem = "ends within a line, so it may be truncated"
        raise LogError(problem, file=file, field=field, remedy=f"{COPY_AGAIN}, or end its last line if it is whole")
    return text.rstrip().split("\n")


def parse_numbers(words: Sequence[str], count: int, file: pathlib.Path, field: str, frame: int | None = None):
    """Finite float64 numbers of the words of a line, which must be ``count`` many."""
    if len(words) != count:
        raise LogError(
            f"has {len(words)} numbers, expected {count}", file=file, frame=frame, field=field, remedy=COPY_AGAIN
        )
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError as error:
        raise LogError(
            f"holds a word that is no number: {error}", file=file, frame=frame, field=field, remedy=COPY_AGAIN
        ) from error
    if not np.isfinite(numbers).all():
        raise LogError(
            f"holds a value that is not finite: {words[int(np.argmin(np.isfinite(numbers)))]}",
            file=file,
            frame=frame,
            field=field,
            remedy=COPY_AGAIN,
        )
    return numbers


def nearest_rotation(
    matrix: Float[np.ndarray, "3 3"], file: pathlib.Path, field: str, frame: int | None = None
) -> Float[np.ndarray, "3 3"]:
    """The rotation nearest to a printed one, which must be a rotation up to its printed digits."""
    deviation = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if deviation > PRINTED_ROTATION_TOLERANCE or np.linalg.det(matrix) < 0:
        raise LogError(
            f"is not a rotation (R R^T differs from the identity by {deviation:.2g}, "
            f"determinant {np.linalg.det(matrix):.3g})",
            file=file,
            frame=frame,
            field=field,
            remedy=COPY_AGAIN,
        )
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def read_calibration(file: pathlib.Path) -> dict[str, str]:
    """Rows ``name: values`` of a calibration file, unparsed."""
    rows: dict[str, str] = {}
    for number, line in enumerate(read_lines(file, "calibration"), start=1):
        name, colon, values = line.partition(":")
        if not line.strip():
            continue
        if not colon or name.strip() in rows:
            problem = "is given twice" if colon else "has no 'name: values'"
            raise LogError(problem, file=file, field=f"calibration line {number}", remedy=COPY_AGAIN)
        rows[name.strip()] = values
    return rows


def calibration_row(rows: dict[str, str], name: str, count: int, file: pathlib.Path) -> Float[np.ndarray, " count"]:
    """The numbers of one calibration row."""
    if name not in rows:
        raise LogError(
            f"row is missing; the file has {sorted(rows)}", file=file, field=f"calibration {name}", remedy=COPY_AGAIN
        )
    return parse_numbers(rows[name].split(), count, file, f"calibration {name}")


def read_rigid_calibration(file: pathlib.Path) -> Float[np.ndarray, "4 4"]:
    """The rigid transform of a ``calib_*_to_*.txt`` with rows R and T."""
    rows = read_calibration(file)
    rotation = nearest_rotation(calibration_row(rows, "R", 9, file).reshape(3, 3), file, "calibration R")
    return transforms.rigid(rotation, calibration_row(rows, "T", 3, file))


def numbered_files(folder: pathlib.Path, suffixes: tuple[str, ...], field: str) -> dict[int, pathlib.Path]:
    """Files of a folder by the frame number that they are named for; there must be some."""
    files: dict[int, pathlib.Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.suffix.lower() not in suffixes or not (file.stem.isascii() and file.stem.isdigit()):
            continue
        number = int(file.stem)
        if number in files:
            problem = f"and {files[number].name} are the same frame"
            raise LogError(problem, file=file, frame=number, field=field, remedy="Keep one of the files")
        files[number] = file
    if not files:
        raise LogError(
            f"has no frames, expected files such as 0000000000{suffixes[0]}",
            file=folder,
            field=field,
            remedy="Add the files, or " + ("pass lidar=False" if field == "lidar" else "leave this part out"),
        )
    return files


def require_frames(streams: Mapping[pathlib.Path, Mapping[int, Any]], numbers: Sequence[int]) -> None:
    """Check that every stream has an entry of every frame; the keys are the files or folders that hold the streams."""
    longest = max(streams, key=lambda file: max(streams[file], default=-1))
    last = max(streams[longest], default=-1)
    for number in numbers:
        for file, entries in streams.items():
            if number not in entries:
                before, after = f"frames=slice(0, {number})", f"frames=slice({number + 1}, None)"
                raise LogError(
                    f"is missing, but {longest} goes on to frame {last}",
                    file=file,
                    frame=number,
                    field="frames",
                    remedy=f"Add it, or read the frames on one side of the gap with {before} or {after}",
                )

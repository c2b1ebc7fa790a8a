"""Tracking labels of a KITTI drive, and the tracks that they describe."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxrecon.geometry import transforms
from jaxrecon.logs.driving_log import CYCLIST, OTHER, PEDESTRIAN, VEHICLE, Track
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.kitti_text import COPY_AGAIN, parse_numbers, read_lines

LABEL_COLUMNS = 17
CATEGORY_OF_TYPE = {
    "Car": VEHICLE,
    "Van": VEHICLE,
    "Truck": VEHICLE,
    "Tram": VEHICLE,
    "Pedestrian": PEDESTRIAN,
    "Person_sitting": PEDESTRIAN,
    "Person": PEDESTRIAN,
    "Cyclist": CYCLIST,
    "Misc": OTHER,
}


@dataclasses.dataclass(frozen=True)
class Label:
    """One box of the tracking labels, in the rectified frame of camera 0.

    Attributes:
        size: (length, width, height) in metres.
        bottom: centre of the box's bottom face, metres.
        rotation_y: heading about the camera's y axis (down), radians; 0 faces along the camera's x axis.
    """

    frame: int
    identifier: str
    category: str
    size: Float[np.ndarray, "3"]
    bottom: Float[np.ndarray, "3"]
    rotation_y: float


def read_labels(file: pathlib.Path) -> list[Label]:
    """Every labelled box of a drive; regions marked DontCare are left out."""
    labels = []
    seen: set[tuple[int, str]] = set()
    for number, line in enumerate(read_lines(file, "labels"), start=1):
        label = _parse_label(line.split(), file, f"label line {number}")
        if label is None:
            continue
        if (label.frame, label.identifier) in seen:
            raise LogError(
                f"track {label.identifier} is labelled twice in this frame",
                file=file,
                frame=label.frame,
                field=f"label line {number}",
                remedy="Keep one of the lines",
            )
        seen.add((label.frame, label.identifier))
        labels.append(label)
    return labels


def _parse_label(words: list[str], file: pathlib.Path, field: str) -> Label | None:
    if len(words) != LABEL_COLUMNS:
        raise LogError(
            f"has {len(words)} columns, expected {LABEL_COLUMNS} of the KITTI tracking format",
            file=file,
            field=field,
            remedy="Check that the file is from label_02 of the tracking benchmark, not the detection benchmark",
        )
    kind = words[2]
    if kind != "DontCare" and kind not in CATEGORY_OF_TYPE:
        raise LogError(
            f"has the unknown type {kind!r}; known are {sorted(CATEGORY_OF_TYPE)} and DontCare",
            file=file,
            field=field,
            remedy=COPY_AGAIN,
        )
    numbers = parse_numbers(words[:2] + words[3:], LABEL_COLUMNS - 1, file, field)
    frame, identifier = numbers[:2]
    if frame != int(frame) or frame < 0 or identifier != int(identifier):
        raise LogError(
            f"starts with {words[:2]}, expected a frame and a track number", file=file, field=field, remedy=COPY_AGAIN
        )
    if kind == "DontCare":
        return None
    height, width, length = numbers[9:12]
    if min(height, width, length) <= 0 or identifier < 0:
        raise LogError(
            f"track {words[1]} has no box (height, width, length are {words[10:13]})",
            file=file,
            frame=int(frame),
            field=field,
            remedy="Delete the line or give the box its size",
        )
    return Label(
        int(frame), str(int(identifier)), CATEGORY_OF_TYPE[kind], np.array([length, width, height]),
        numbers[12:15], float(numbers[15]),
    )  # fmt: skip


def find_labels(folder: pathlib.Path, sequence: str | None) -> pathlib.Path | None:
    """The label file of a drive in ``folder``; None where there is no such folder and none was asked for."""
    if not folder.is_dir() and sequence is None:
        return None
    files = sorted(folder.glob(f"{sequence or '*'}.txt"))
    if len(files) != 1:
        raise LogError(
            f"holds {[file.name for file in files]}, expected the one file of this drive",
            file=folder,
            field="labels",
            remedy="Add it, or pass which sequence of the tracking benchmark this drive is, such as sequence='0003'",
        )
    return files[0]


def read_tracks(
    file: pathlib.Path, count: int, numbers: Sequence[int], world_from_rect0: Float[np.ndarray, "frame 4 4"]
) -> tuple[Track, ...]:
    """The tracks that the frames of those numbers show, in the order of their identifiers.

    Args:
        file: tracking labels.
        count: how many frames the whole drive has.
        numbers: number of each frame of the log.
        world_from_rect0: pose of the rectified camera 0 in each frame.
    """
    position = {number: index for index, number in enumerate(numbers)}
    by_identifier: dict[str, list[Label]] = {}
    for label in read_labels(file):
        if label.frame >= count:
            problem = f"labels a frame after the drive's last, {count - 1}"
            remedy = "Use the labels of this drive, or complete the drive"
            raise LogError(problem, file=file, frame=label.frame, field="labels", remedy=remedy)
        if label.frame in position:
            by_identifier.setdefault(label.identifier, []).append(label)
    tracks = []
    for identifier in sorted(by_identifier, key=int):
        boxes = by_identifier[identifier]
        categories = sorted({box.category for box in boxes})
        if len(categories) > 1:
            problem = f"track {identifier} changes its category: {categories}"
            raise LogError(problem, file=file, frame=boxes[0].frame, field="labels", remedy="Give it one type")
        size = np.median([box.size for box in boxes], axis=0)
        world_from_box = np.tile(np.eye(4), (len(numbers), 1, 1))
        valid = np.zeros(len(numbers), bool)
        for box in boxes:
            index = position[box.frame]
            world_from_box[index] = world_from_rect0[index] @ _rect0_from_box(box, size[2])
            valid[index] = True
        tracks.append(Track(identifier, categories[0], size, world_from_box, valid))
    return tuple(tracks)


def _rect0_from_box(box: Label, height: float) -> Float[np.ndarray, "4 4"]:
    """Pose of a box that stands on its labelled bottom, in the rectified frame of camera 0 (y down)."""
    cos, sin = np.cos(box.rotation_y), np.sin(box.rotation_y)
    rotation = np.array([[cos, sin, 0.0], [0.0, 0.0, -1.0], [-sin, cos, 0.0]])
    return transforms.rigid(rotation, box.bottom - np.array([0.0, height / 2, 0.0]))

"""The front door of all readers: what a folder holds decides which of them reads it."""

import os
import pathlib
from typing import Any

from jaxrecon.logs.argoverse2 import POSES, SCENARIO, is_argoverse2, read_argoverse2
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.kitti import find_drives, read_kitti
from jaxrecon.logs.native import read_native
from jaxrecon.logs.waymo import read_waymo
from jaxrecon.storage import MANIFEST

WAYMO_SUFFIXES = (".json", ".json.gz")


def read_log(path: str | os.PathLike, **options: Any) -> DrivingLog:
    """Read a recorded drive of any known format.

    Args:
        path: the folder of the recording: a native one (``write_log``), a KITTI raw drive, a log or scenario of
            Argoverse 2; or the JSON file of a scenario of the Waymo Open Motion Dataset.
        options: for the reader of that format, see ``read_native``, ``read_kitti``, ``read_argoverse2`` and
            ``read_waymo``; every reader takes ``frames``, a slice of the frames to read.

    Returns:
        The validated log.

    Raises:
        LogError: there is no recording, its format is unknown, or it is broken; naming file, frame, field and remedy.
        StorageError: a native folder is damaged.
    """
    path = pathlib.Path(path)
    if path.is_file() and path.name.endswith(WAYMO_SUFFIXES):
        return read_waymo(path, **options)
    if not path.is_dir():
        kind = (
            "is a file, expected the folder of a recording or a .json or .json.gz file of Waymo motion"
            if path.exists()
            else "does not exist"
        )
        remedy = "Pass the folder that holds the file" if path.exists() else "Check the path"
        raise LogError(kind, file=path, field="path", remedy=remedy)
    if (path / MANIFEST).exists():
        return read_native(path, **options)
    if find_drives(path):
        return read_kitti(path, **options)
    if is_argoverse2(path):
        return read_argoverse2(path, **options)
    names = sorted(item.name for item in path.iterdir())
    raise LogError(
        f"is no recording of a known format: looked for {MANIFEST} (a native log) and for a folder named like "
        f"2011_09_26_drive_0013_sync, here or in a date folder (a KITTI raw drive), for {POSES} or {SCENARIO} "
        f"(Argoverse 2); "
        + (f"found {names[:8]}{' and more' if len(names) > 8 else ''}" if names else "the folder is empty"),
        file=path,
        field="format",
        remedy="Pass the folder that holds one of these, or the .json or .json.gz file of a Waymo scenario, or convert "
        "the recording with write_log",
    )

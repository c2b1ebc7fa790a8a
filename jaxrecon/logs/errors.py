"""The error that every reader raises for a recording that cannot be used."""

import os


class LogError(ValueError):
    """A recorded drive is unusable, and why.

    Attributes:
        file: the file or folder at fault, or None for a log that was built in memory.
        frame: the frame at fault, or None where the fault is in no single frame.
        field: what in it is at fault, such as "calibration P_rect_02" or "world_from_ego".
        remedy: what to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | os.PathLike | None = None,
        frame: int | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ):
        """The message joins the parts that are known: ``file: frame 3: field: problem. remedy.``"""
        self.file = None if file is None else os.fspath(file)
        self.frame = frame
        self.field = field
        self.remedy = remedy
        where = [self.file, None if frame is None else f"frame {frame}", field]
        message = ": ".join([*(part for part in where if part), problem])
        super().__init__(message if remedy is None else f"{message}. {remedy}.")

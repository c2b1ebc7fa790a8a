"""Folders that appear whole or not at all, with a manifest of SHA-256 checksums that every read verifies."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import socket
import uuid
from collections.abc import Callable
from typing import Any

MANIFEST = "manifest.json"
_WRITE_AGAIN = "Write the folder again, or restore it from a copy"


class StorageError(ValueError):
    """A stored folder is not what it should be.

    Attributes:
        file: the file or folder at fault.
        expected: what should have been there.
        received: what was there.
        remedy: what to do about it.
    """

    def __init__(self, file: str | os.PathLike, *, expected: str, received: str, remedy: str):
        """The message joins all four."""
        self.file, self.expected, self.received, self.remedy = os.fspath(file), expected, received, remedy
        super().__init__(f"{self.file}: expected {expected}, received {received}. {remedy}.")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a verified folder holds.

    Attributes:
        path: the folder.
        metadata: what its writer noted.
        content_hash: SHA-256 over the names, sizes and checksums of its files.
        files: the names of its files, relative to the folder, sorted.
    """

    path: pathlib.Path
    metadata: dict[str, Any]
    content_hash: str
    files: tuple[str, ...]


def write_folder(
    path: str | os.PathLike,
    write: Callable[[pathlib.Path], None],
    *,
    kind: str,
    version: int,
    metadata: dict[str, Any],
    overwrite: bool = False,
) -> str:
    """Write a folder so that it is complete as soon as it is at ``path``, whatever interrupts the writing.

    The files are written and flushed in a hidden sibling, which is then renamed. What writers killed on this machine
    have left beside ``path`` is removed.

    Args:
        path: where the folder will be; its parents are made.
        write: puts the files into the empty folder that it is given.
        kind: what the folder is, such as "log"; a reader of another kind refuses it.
        version: of the kind's format.
        metadata: noted in the manifest, JSON values only.
        overwrite: whether to replace what is at ``path``, which stays untouched until the new folder is complete.

    Returns:
        The content hash, as in ``Manifest``.

    Raises:
        StorageError: ``path`` exists and is not to be replaced, or ``write`` made links or no files.
    """
    path = pathlib.Path(path).absolute()
    _refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    partial = _sibling(path, "partial")
    partial.mkdir()
    try:
        write(partial)
        files = {name: _entry(partial / name) for name in _files(partial)}
        if not files or MANIFEST in files:
            raise StorageError(
                path,
                expected=f"files other than {MANIFEST}",
                received=f"the files {sorted(files)}",
                remedy="Correct the function that writes the folder",
            )
        text = _manifest_text({"kind": kind, "version": version, "metadata": metadata, "files": files})
        (partial / MANIFEST).write_bytes(text)
        for item in [*partial.rglob("*"), partial]:
            _flush(item)
        _refuse_existing(path, overwrite)
        _move_into_place(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _flush(path.parent)
    return _digest(files)


def read_folder(path: str | os.PathLike, *, kind: str, version: int) -> Manifest:
    """Verify a folder that ``write_folder`` wrote: every file is there, whole and unchanged, and no other.

    Args:
        path: the folder.
        kind: what the folder has to be.
        version: of the kind's format that the caller reads.

    Returns:
        The manifest.

    Raises:
        StorageError: naming the first file at fault.
    """
    path = pathlib.Path(path)
    content = _read_manifest(path)
    for field, wanted in (("kind", kind), ("version", version)):
        if content[field] != wanted:
            raise StorageError(
                path / MANIFEST,
                expected=f"{field} {wanted!r}",
                received=f"{content[field]!r}",
                remedy=f"Read the folder with the release that wrote it, or as what it is, a {content['kind']}",
            )
    recorded, present = content["files"], _files(path)
    for name in sorted({*recorded, *present} - {MANIFEST}):
        if name not in recorded:
            raise StorageError(
                path / name, expected="no such file", received="a file that is not in the manifest", remedy="Remove it"
            )
        if name not in present:
            raise StorageError(path / name, expected="a file", received="nothing: it is missing", remedy=_WRITE_AGAIN)
        entry = _entry(path / name, recorded[name]["bytes"])
        if entry != recorded[name]:
            field = "bytes" if entry["bytes"] != recorded[name]["bytes"] else "sha256"
            raise StorageError(
                path / name,
                expected=f"{field} {recorded[name][field]}",
                received=f"{field} {entry[field]}: it is damaged or was changed",
                remedy=_WRITE_AGAIN,
            )
    return Manifest(path, content["metadata"], _digest(recorded), tuple(sorted(recorded)))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).encode("ascii")


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


def _manifest_text(content: dict[str, Any]) -> bytes:
    """The manifest as stored: canonical JSON with a checksum of itself, so that no byte of it can change unseen."""
    return _canonical({**content, "checksum": _digest(content)}) + b"\n"


def _read_manifest(path: pathlib.Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        kept = sorted(str(other) for other in path.parent.glob(f".{path.name}.replaced-*"))
        raise StorageError(
            file,
            expected="a manifest",
            received="nothing" if path.is_dir() else "no such folder",
            remedy=f"A killed overwrite left the previous folder at {kept[-1]}: rename it"
            if kept
            else "Check the path; a folder without its manifest was not written by this software or is incomplete",
        )
    data = file.read_bytes()
    try:
        content = json.loads(data)
        checksum = content.pop("checksum")
        whole = checksum == _digest(content) and data == _manifest_text(content)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise StorageError(
            file, expected="a manifest that matches its own checksum", received="a damaged one", remedy=_WRITE_AGAIN
        )
    return content


def _files(folder: pathlib.Path) -> set[str]:
    """Names of all files below a folder, relative to it."""
    names = set()
    for item in folder.rglob("*"):
        if item.is_symlink() or not (item.is_file() or item.is_dir()):
            raise StorageError(
                item,
                expected="plain files only",
                received="a link or a special file",
                remedy="Store a copy of the file",
            )
        if item.is_file():
            names.add(item.relative_to(folder).as_posix())
    return names


def _entry(file: pathlib.Path, bytes_expected: int | None = None) -> dict[str, Any]:
    """Size and checksum of a file; the checksum is left empty where the size is already wrong."""
    size = file.stat().st_size
    if bytes_expected is not None and size != bytes_expected:
        return {"sha256": "", "bytes": size}
    with file.open("rb") as stream:
        return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "bytes": size}


def _flush(item: pathlib.Path) -> None:
    descriptor = os.open(item, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_existing(path: pathlib.Path, overwrite: bool) -> None:
    if os.path.lexists(path) and not overwrite:
        raise StorageError(
            path,
            expected="nothing there yet",
            received="something that exists",
            remedy="Choose another path, remove it, or pass overwrite=True",
        )


def _move_into_place(partial: pathlib.Path, path: pathlib.Path) -> None:
    if not os.path.lexists(path):
        partial.rename(path)
        return
    # Folders cannot be exchanged in one step everywhere: between the two renames a kill leaves the previous folder
    # beside the path, whole, and `read_folder` names it.
    previous = _sibling(path, "replaced")
    path.rename(previous)
    try:
        partial.rename(path)
    except BaseException:
        previous.rename(path)
        raise
    _remove(previous)


def _sibling(path: pathlib.Path, purpose: str) -> pathlib.Path:
    return path.with_name(f".{path.name}.{purpose}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _remove_leftovers(path: pathlib.Path) -> None:
    """Remove what writers of ``path`` that were killed on this machine have left, but never the only copy."""
    purposes = ("partial", "replaced") if os.path.lexists(path) else ("partial",)
    for purpose in purposes:
        prefix = f".{path.name}.{purpose}-{socket.gethostname()}-"
        for leftover in [item for item in path.parent.iterdir() if item.name.startswith(prefix)]:
            process = leftover.name.removeprefix(prefix).split("-")[0]
            if process.isdigit() and not _alive(int(process)):
                _remove(leftover)


def _remove(item: pathlib.Path) -> None:
    if item.is_dir() and not item.is_symlink():
        shutil.rmtree(item, ignore_errors=True)
    else:
        item.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Folders are whole or absent, and whatever happens to their bytes is noticed."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.storage import MANIFEST, StorageError, read_folder, write_folder

CONTENT = {"a.bin": bytes(range(200)), "deep/er/b.txt": b"hello\n", "empty": b""}
METADATA = {"name": "drive", "values": [1, 2.5, None, {"ü": True}]}


def _put(folder, files=CONTENT):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _write(path, files=CONTENT, **options):
    options = {"kind": "thing", "version": 3, "metadata": METADATA} | options
    return write_folder(path, lambda folder: _put(folder, files), **options)


def _read(path):
    return read_folder(path, kind="thing", version=3)


def _files(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Every file of a written folder."""
    path = tmp_path_factory.mktemp("stored") / "folder"
    _write(path)
    return _files(path)


def test_what_is_written_is_read(tmp_path):
    content_hash = _write(tmp_path / "new/parents/folder")
    manifest = _read(tmp_path / "new/parents/folder")
    assert (manifest.metadata, manifest.content_hash) == (METADATA, content_hash)
    assert manifest.files == tuple(sorted(CONTENT))
    assert {n: (manifest.path / n).read_bytes() for n in manifest.files} == CONTENT
    assert [item.name for item in (tmp_path / "new/parents").iterdir()] == ["folder"]


def test_the_hash_is_of_the_files_alone(tmp_path):
    first = _write(tmp_path / "a")
    assert _write(tmp_path / "b", metadata={"other": 1}, kind="else") == first
    assert _write(tmp_path / "c", {**CONTENT, "empty": b"x"}) != first
    assert _write(tmp_path / "d", {**CONTENT, "renamed": b""}) != first


FAULTS = ["flip", "truncate", "extend", "delete", "add", "rename", "empty"]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([*CONTENT, MANIFEST]), st.sampled_from(FAULTS), st.integers(0, 10**6), st.integers(1, 255))
def test_any_change_is_noticed_and_named(stored, name, fault, place, difference):
    files = dict(stored)
    content = files.pop(name)
    if fault in ("flip", "truncate") and content:
        place %= len(content)
        end = bytes([content[place] ^ difference]) + content[place + 1 :] if fault == "flip" else b""
        files[name] = content[:place] + end
    elif fault == "add":
        files |= {name: content, f"{name}.orig": content}
    elif fault == "rename":
        files[f"{name}.orig"] = content
    elif fault == "empty" and content:
        files[name] = b""
    elif fault != "delete":
        files[name] = content + bytes([difference])
    with tempfile.TemporaryDirectory() as folder:
        _put(pathlib.Path(folder), files)
        with pytest.raises(StorageError) as caught:
            _read(folder)
    error = caught.value
    assert name in error.file
    assert all(part in str(error) for part in (error.file, error.expected, error.received, error.remedy))


def test_the_message_says_what_was_expected_and_received(tmp_path):
    _write(tmp_path / "folder")
    (tmp_path / "folder/a.bin").write_bytes(b"short")
    with pytest.raises(
        StorageError, match=r"a\.bin: expected bytes 200, received bytes 5: it is damaged .*Write the fo"
    ):
        _read(tmp_path / "folder")
    (tmp_path / "folder/a.bin").unlink()
    with pytest.raises(StorageError, match=r"a\.bin: expected a file, received nothing: it is missing"):
        _read(tmp_path / "folder")
    with pytest.raises(
        StorageError, match=r"nowhere/manifest\.json: expected a manifest, received no such folder\. Check"
    ):
        _read(tmp_path / "nowhere")
    _write(tmp_path / "other")
    with pytest.raises(StorageError, match=r"expected kind 'log', received 'thing'.*as what it is, a thing"):
        read_folder(tmp_path / "other", kind="log", version=3)
    with pytest.raises(StorageError, match="expected version 4, received 3"):
        read_folder(tmp_path / "other", kind="thing", version=4)


def test_links_are_refused(tmp_path):
    _write(tmp_path / "folder")
    (tmp_path / "folder/empty").unlink()
    (tmp_path / "folder/empty").symlink_to("/dev/null")
    with pytest.raises(StorageError, match="empty: expected plain files only, received a link"):
        _read(tmp_path / "folder")
    with pytest.raises(StorageError, match="received a link"):
        write_folder(tmp_path / "b", lambda f: (f / "l").symlink_to("x"), kind="thing", version=3, metadata={})
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("files", [{}, {MANIFEST: b"{}"}])
def test_a_writer_must_write_files_other_than_the_manifest(tmp_path, files):
    with pytest.raises(StorageError, match=r"expected files other than manifest\.json"):
        _write(tmp_path / "folder", files)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failing_writer_leaves_things_as_they_were(tmp_path, error, overwrite):
    if overwrite:
        _write(tmp_path / "folder")
    before = _files(tmp_path)

    def fail(folder):
        _put(folder, {"half": b"written"})
        raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        write_folder(tmp_path / "folder", fail, kind="thing", version=3, metadata={}, overwrite=overwrite)
    assert _files(tmp_path) == before
    with pytest.raises(ValueError, match="not JSON compliant"):
        _write(tmp_path / "folder", metadata={"loss": float("nan")}, overwrite=overwrite)
    assert _files(tmp_path) == before


def test_what_exists_is_replaced_only_when_asked(tmp_path):
    _write(tmp_path / "folder")
    with pytest.raises(
        StorageError, match=r"expected nothing there yet, received something that exists.*overwrite=True"
    ):
        _write(tmp_path / "folder", {"new": b"1"})
    _write(tmp_path / "folder", {"new": b"1"}, overwrite=True)
    assert _read(tmp_path / "folder").files == ("new",)
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_appears_while_writing_is_not_replaced(tmp_path):
    def slow(folder):
        _put(folder, {"late": b"1"})
        _write(tmp_path / "folder")

    with pytest.raises(StorageError, match="received something that exists"):
        write_folder(tmp_path / "folder", slow, kind="thing", version=3, metadata={})
    assert _read(tmp_path / "folder").files == tuple(sorted(CONTENT))


def _run_and_kill(script):
    """Run a writer in a process of its own, and kill it as soon as it says so."""
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"now\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


KILLED_WRITE = """
    import pathlib, sys, time
    sys.path.insert(0, {root!r})
    from jaxrecon.storage import write_folder
    def write(folder):
        (folder / "half").write_bytes(b"written")
        print("now", flush=True)
        time.sleep(60)
    write_folder({path!r}, write, kind="thing", version=3, metadata={{}}, overwrite={overwrite})
"""
KILLED_SWAP = """
    import pathlib, sys, time
    sys.path.insert(0, {root!r})
    from jaxrecon.storage import write_folder
    rename = pathlib.Path.rename
    def slow(self, target):
        rename(self, target)
        print("now", flush=True)
        time.sleep(60)
    pathlib.Path.rename = slow
    write = lambda folder: (folder / "new").write_bytes(b"1")
    write_folder({path!r}, write, kind="thing", version=3, metadata={{}}, overwrite=True)
"""
ROOT = str(pathlib.Path(__file__).resolve().parents[2])


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_killed_write_changes_nothing_and_its_rest_is_removed_by_the_next(tmp_path, overwrite):
    path = tmp_path / "folder"
    if overwrite:
        _write(path)
    _run_and_kill(KILLED_WRITE.format(root=ROOT, path=str(path), overwrite=overwrite))
    assert path.exists() == overwrite
    assert len([item for item in tmp_path.iterdir() if item != path]) == 1
    if overwrite:
        assert _read(path).files == tuple(sorted(CONTENT))
    _write(path, {"new": b"1"}, overwrite=overwrite)
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_a_kill_between_the_renames_of_an_overwrite_keeps_the_previous_folder(tmp_path):
    path = tmp_path / "folder"
    _write(path)
    _run_and_kill(KILLED_SWAP.format(root=ROOT, path=str(path)))
    with pytest.raises(
        StorageError, match=r"left the previous folder at .*/\.folder\.replaced-.*: rename it"
    ) as caught:
        _read(path)
    kept = caught.value.remedy.split(" at ")[1].split(": ")[0]
    os.rename(kept, path)
    assert _read(path).files == tuple(sorted(CONTENT))


def test_the_rest_of_a_living_writer_is_left_alone(tmp_path):
    def nested(folder):
        _put(folder, {"outer": b"1"})
        _write(tmp_path / "folder")
        _put(folder, {"still": b"here"})
        _write(tmp_path / "folder", overwrite=True)

    write_folder(tmp_path / "folder", nested, kind="thing", version=3, metadata={}, overwrite=True)
    assert _read(tmp_path / "folder").files == ("outer", "still")

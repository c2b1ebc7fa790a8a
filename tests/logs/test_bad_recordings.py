"""Broken recordings are named, never swallowed: a table of known faults, then hundreds of random ones."""

import io
import pathlib
import tempfile

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrecon.logs import LogError, read_log, write_log
from jaxrecon.storage import StorageError

DATE = "2011_09_26"
DRIVE = f"{DATE}/{DATE}_drive_0042_sync"
IMAGE, SCAN = f"{DRIVE}/image_02/data/0000000001.jpg", f"{DRIVE}/velodyne_points/data/0000000001.bin"
POSES, LABELS = "derived/T_world_velo_icp_0042.txt", "tracking/label_02/0007.txt"
CAMERAS, MOUNT = f"{DATE}/calib_cam_to_cam.txt", f"{DATE}/calib_velo_to_cam.txt"
CLOCK, PACKET = f"{DRIVE}/image_02/timestamps.txt", f"{DRIVE}/oxts/data/0000000001.txt"
TABLE = f"{DRIVE}/poses_oxts.csv"


def _encode(mode, size, kind="PNG"):
    buffer = io.BytesIO()
    PIL.Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def _word(line, word, value):
    """Replaces a word of a line; ``None`` takes it out."""

    def edit(content):
        lines = content.decode().split("\n")
        separator = "," if "," in lines[line] else " "
        words = lines[line].split(separator)
        words[word : word + 1] = [] if value is None else [value]
        lines[line] = separator.join(words)
        return "\n".join(lines).encode()

    return edit


def _without_line(line):
    return lambda content: b"".join(content.splitlines(keepends=True)[:line] + content.splitlines(True)[line + 1 :])


def _floats(position, value):
    def edit(content):
        numbers = np.frombuffer(content, "<f4").copy()
        numbers[position] = value
        return numbers.tobytes()

    return edit


FAULTS = [
    (
        "refined",
        IMAGE,
        None,
        r"image_02/data: frame 1: frames: is missing, but .* goes on to frame 2\. Add it, or read",
    ),
    (
        "refined",
        IMAGE,
        lambda c: c[: len(c) // 2],
        r"0000000001\.jpg: frame 1: image_02: cannot be decoded.*Copy the im",
    ),
    ("refined", IMAGE, lambda c: b"", "cannot be decoded"),
    (
        "refined",
        IMAGE,
        lambda c: _encode("RGB", (16, 16), "JPEG"),
        "is 16x16, but the first image of this camera is 32x16",
    ),
    (
        "plain",
        IMAGE.replace("jpg", "png"),
        lambda c: _encode("I;16", (32, 16)),
        "pixel format I;16, expected 8-bit RGB",
    ),
    ("refined", SCAN, None, "velodyne_points/data: frame 1: frames: is missing"),
    (
        "refined",
        SCAN,
        lambda c: c[:-5],
        r"0000000001\.bin: frame 1: lidar: has 315 bytes, expected a positive multiple",
    ),
    ("refined", SCAN, lambda c: b"", "has 0 bytes"),
    ("refined", SCAN, _floats(4, np.nan), r"frame 1: lidar: point 1 is no measurement: \[ *nan"),
    ("refined", SCAN, _floats(9, 1e6), "point 2 is no measurement"),
    ("refined", POSES, _word(1, 3, "nan"), "frame 1: pose: holds a value that is not finite: nan"),
    ("refined", POSES, _word(1, 0, "0.5"), r"icp_0042\.txt: frame 1: pose: is not a rotation \(R R\^T differs"),
    ("refined", POSES, _word(2, 0, None), "frame 2: pose: has 11 numbers, expected 12"),
    ("refined", POSES, _without_line(2), r"icp_0042\.txt: frame 2: frames: is missing"),
    ("refined", POSES, lambda c: c[:-4], r"icp_0042\.txt: poses: ends within a line, so it may be truncated"),
    ("refined", LABELS, _word(1, 5, None), r"0007\.txt: label line 2: has 16 columns, expected 17"),
    ("refined", LABELS, _word(1, 2, "Ufo"), "label line 2: has the unknown type 'Ufo'; known are .*'Car'"),
    ("refined", LABELS, _word(1, 10, "-1"), r"0007\.txt: frame 0: label line 2: track 0 has no box"),
    ("refined", LABELS, _word(1, 16, "x"), "label line 2: holds a word that is no number"),
    ("refined", LABELS, _word(1, 0, "3"), r"0007\.txt: frame 3: labels: labels a frame after the drive's last, 2"),
    ("refined", LABELS, _word(1, 0, "1"), "frame 1: label line 3: track 0 is labelled twice"),
    ("refined", LABELS, _word(1, 1, "2"), r"0007\.txt: frame 0: labels: track 2 changes its category"),
    ("refined", CAMERAS, None, r"calib_cam_to_cam\.txt: calibration: cannot be read \(No such file"),
    (
        "refined",
        CAMERAS,
        _without_line(3),
        r"calib_cam_to_cam\.txt: calibration P_rect_02: row is missing; the file has",
    ),
    ("refined", CAMERAS, _word(3, 4, None), "calibration P_rect_02: has 11 numbers, expected 12"),
    ("refined", CAMERAS, _word(3, 1, "0"), "calibration P_rect_02: is no pinhole projection"),
    ("refined", CAMERAS, _word(2, 1, "64"), "is 32x16, which is no resizing of the calibrated 64x16"),
    ("refined", MOUNT, _word(0, 2, "0.3"), r"calib_velo_to_cam\.txt: calibration R: is not a rotation"),
    ("refined", MOUNT, lambda c: c.replace(b"T:", b"R:"), "calibration line 2: is given twice"),
    ("refined", MOUNT, lambda c: b"\xff" + c, "calibration: is not a text file"),
    ("refined", CLOCK, _word(1, 1, "25:00:00"), r"timestamps\.txt: frame 1: timestamp: is no date and time"),
    (
        "refined",
        CLOCK,
        _word(1, 1, "13:10:50"),
        r"timestamps\.txt: frame 1: timestamps: comes -1.1.* s after the frame before it",
    ),
    ("refined", CLOCK, _word(2, 1, "13:10:59"), r"timestamps\.txt: frame 2: timestamps: comes 7.* s after"),
    ("plain", PACKET, None, "oxts/data: frame 1: frames: is missing"),
    ("plain", PACKET, _word(0, 7, None), "frame 1: oxts: has 29 numbers, expected 30"),
    ("plain", PACKET, _word(0, 0, "491"), "frame 1: oxts: is no position and attitude: latitude 491"),
    ("plain", PACKET, lambda c: c + c, "frame 1: oxts: has 2 lines, expected 1"),
    ("table", TABLE, _word(0, 1, "height"), r"poses_oxts\.csv: oxts: lacks the columns \['lat_deg'\]"),
    ("table", TABLE, _word(2, 4, None), r"poses_oxts\.csv: frame 1: oxts: has 7 values, expected 8"),
    (
        "table",
        TABLE,
        None,
        "drive_0042_sync: oxts: has neither oxts/data nor poses_oxts.csv, and .*icp_0042.txt is miss",
    ),
]


@pytest.mark.parametrize(("layout", "name", "edit", "message"), FAULTS, ids=[fault[3][:50] for fault in FAULTS])
def test_a_fault_is_named(tmp_path, drives, put_files, layout, name, edit, message):
    files = dict(drives[layout])
    content = files.pop(name)
    if edit is not None:
        files[name] = edit(content)
        assert files[name] != content
    with pytest.raises(LogError, match=message) as caught:
        read_log(put_files(tmp_path, files))
    error = caught.value
    assert error.file is not None and error.field is not None and error.remedy is not None


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (("velodyne_points",), {}, r"velodyne_points/data: lidar: has no frames.*pass lidar=False"),
        (("image_02", "image_03"), {}, "cameras: has none of the colour cameras image_02, image_03"),
        (("oxts",), {}, "has neither oxts/data nor poses_oxts.csv"),
        ((), {"frames": slice(3, None)}, "frames: has 3 frames, of which slice.* takes none or takes them backwards"),
        ((), {"frames": slice(None, None, -1)}, "takes none or takes them backwards"),
        ((), {"cameras": ["image_07"]}, "image_07/data: image_07: has no frames"),
        ((), {"poses": "icp"}, r"T_world_velo_icp_0042\.txt: poses: cannot be read"),
        ((), {"drive": "0001"}, "expected one with the number 0001"),
        ((), {"sequence": "0001"}, r"label_02: labels: holds \[\], expected the one file"),
    ],
)
def test_a_missing_part_is_named(tmp_path, drives, put_files, names, options, message):
    files = {name: content for name, content in drives["plain"].items() if not set(names) & set(name.split("/"))}
    with pytest.raises(LogError, match=message):
        read_log(put_files(tmp_path, files), **options)


def test_what_is_no_recording_is_said(tmp_path):
    with pytest.raises(LogError, match=r"nowhere: path: does not exist\. Check the path"):
        read_log(tmp_path / "nowhere")
    (tmp_path / "drive.zip").write_bytes(b"PK")
    with pytest.raises(LogError, match=r"drive\.zip: path: is a file, expected the folder of a recording"):
        read_log(tmp_path / "drive.zip")
    with pytest.raises(LogError, match=r"looked for manifest\.json .*found \['drive\.zip'\].*convert the recording"):
        read_log(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogError, match="the folder is empty"):
        read_log(tmp_path / "empty")
    (tmp_path / DRIVE).mkdir(parents=True)
    with pytest.raises(LogError, match="has neither oxts/data nor poses_oxts"):
        read_log(tmp_path)


BROKEN_WORDS = ("nan", "inf", "-inf", "word", "", "1e400", None)


def _text_fault(draw, content):
    """A fault that no honest text has: a word that is no number or missing, a broken line, a foreign byte."""
    lines = content.decode().splitlines()
    kind = draw(st.sampled_from(["word", "truncate", "drop", "repeat", "byte"]))
    line = draw(st.integers(0, len(lines) - 1))
    if kind == "word":
        separator = "," if "," in lines[line] else " "
        word = draw(st.integers(0, len(lines[line].split(separator)) - 1))
        return _word(line, word, draw(st.sampled_from(BROKEN_WORDS)))(content)
    if kind == "truncate":
        return content[: draw(st.integers(0, len(content) - 1))]
    if kind == "byte":
        place = draw(st.integers(0, len(content) - 1))
        return content[:place] + bytes([draw(st.integers(128, 255))]) + content[place + 1 :]
    lines[line : line + 1] = [] if kind == "drop" else [lines[line]] * 2
    return ("\n".join(lines) + "\n").encode()


def _binary_fault(draw, name, content):
    if name.endswith(".png") and draw(st.booleans()):
        place = draw(st.integers(0, len(content) - 1))
        return content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]
    if name.endswith(".bin") and draw(st.booleans()):
        position = draw(st.integers(0, len(content) // 4 - 1))
        return _floats(position, draw(st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -1e4])))(content)
    size = draw(st.integers(0, len(content) - 1).filter(lambda n: n % 16 or n == 0 or not name.endswith(".bin")))
    return content[:size]


@st.composite
def faults(draw, drives):
    """A layout, the name of one of its files, and what is there instead: other content under some name, or nothing."""
    layout = draw(st.sampled_from(sorted(drives)))
    name = draw(st.sampled_from(sorted(drives[layout])))
    content = drives[layout][name]
    kind = draw(st.sampled_from(["content", "content", "content", "missing", "renamed", "folder"]))
    if kind == "content":
        is_text = name.endswith((".txt", ".csv"))
        return layout, name, {name: _text_fault(draw, content) if is_text else _binary_fault(draw, name, content)}
    if kind == "renamed":
        path = pathlib.PurePosixPath(name)
        return (
            layout,
            name,
            {str(path.with_name(draw(st.sampled_from(["0000000009", "1", "copy"])) + path.suffix)): content},
        )
    return layout, name, {f"{name}/inside": content} if kind == "folder" else {}


def _may_go_unseen(drives, layout, name, files):
    """Faults that leave a drive which could have been recorded so: KITTI's files have no checksums.

    Labels with whole lines fewer, a clock that is absent or has another rate, another file of refined poses or labels,
    and a frame that goes by the number of a lost one are such.
    """
    before = drives[layout][name].splitlines()
    if name.endswith("timestamps.txt") or (name.startswith("derived") and name not in files):
        return True
    if "tracking" in name:
        content = files.get(name)
        return content is None or (content.endswith(b"\n") and len(content.splitlines()) < len(before))
    return name == TABLE and name in files and b",1300000000," not in files[name].replace(b"\n", b",")


def test_every_random_fault_is_named_or_harmless(drives, put_files, log_differences):
    with tempfile.TemporaryDirectory() as folder:
        whole = {k: read_log(put_files(pathlib.Path(folder, k), files)) for k, files in drives.items()}
    outcomes = {"named": 0, "harmless": 0}

    @settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(faults(drives))
    def check(case):
        layout, name, instead = case
        files = {key: content for key, content in drives[layout].items() if key != name} | instead
        with tempfile.TemporaryDirectory() as folder:
            put_files(pathlib.Path(folder), files)
            try:
                log = read_log(folder)
            except LogError as error:
                parent = str(pathlib.PurePosixPath(name).parent)
                assert name in str(error) or parent in str(error), f"{name} is not named by: {error}"
                assert error.remedy
                outcomes["named"] += 1
                return
        outcomes["harmless"] += 1
        assert _may_go_unseen(drives, layout, name, files) or not log_differences(log, whole[layout])

    check()
    assert outcomes["named"] > 150, outcomes
    assert outcomes["harmless"] > 10, outcomes


def test_every_fault_of_a_native_log_is_named(tmp_path, small_log, put_files):
    write_log(small_log, tmp_path / "log")
    files = {str(f.relative_to(tmp_path)): f.read_bytes() for f in (tmp_path / "log").rglob("*") if f.is_file()}

    @settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(files)), st.sampled_from(["flip", "truncate", "delete", "rename", "add"]), st.data())
    def check(name, kind, data):
        broken = dict(files)
        content = broken.pop(name)
        if kind in ("flip", "truncate"):
            place = data.draw(st.integers(0, len(content) - 1))
            changed = bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
            broken[name] = content[:place] + (changed if kind == "flip" else b"")
        elif kind in ("rename", "add"):
            broken[name + ".copy"] = content
            broken.update({name: content} if kind == "add" else {})
        with tempfile.TemporaryDirectory() as folder:
            put_files(pathlib.Path(folder), broken)
            with pytest.raises((LogError, StorageError)) as caught:
                read_log(pathlib.Path(folder, "log"))
        assert name.removeprefix("log/") in str(caught.value)

    check()

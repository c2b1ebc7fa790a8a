"""The native folder gives back every bit of a log."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from jaxrecon.logs import DrivingLog, LogError, read_log, write_log
from jaxrecon.logs.native import KIND, VERSION
from jaxrecon.storage import StorageError, write_folder


def test_a_log_comes_back_bit_for_bit(tmp_path, small_log, log_differences):
    first = write_log(small_log, tmp_path / "log")
    assert log_differences(read_log(tmp_path / "log"), small_log) == []
    assert write_log(small_log, tmp_path / "again") == first


def test_a_log_of_poses_alone_comes_back(tmp_path, log_differences):
    log = DrivingLog("bare", np.zeros(1), np.eye(4)[None])
    write_log(log, tmp_path / "log")
    assert log_differences(read_log(tmp_path / "log"), log) == []


@pytest.mark.parametrize("layout", ["refined", "plain", "table"])
def test_a_converted_drive_is_the_drive(tmp_path, drives, put_files, log_differences, layout):
    log = read_log(put_files(tmp_path / "drive", drives[layout]))
    write_log(log, tmp_path / "log")
    assert log_differences(read_log(tmp_path / "log"), log) == []


def test_a_recording_comes_back_bit_for_bit(tmp_path, data_folder, log_differences):
    log = read_log(data_folder / "kitti-raw-drive_0005-400px", frames=slice(20, 40, 4))
    write_log(log, tmp_path / "log")
    assert log_differences(read_log(tmp_path / "log"), log) == []


def test_part_of_a_log_can_be_read(tmp_path, small_log):
    write_log(small_log, tmp_path / "log")
    part = read_log(tmp_path / "log", frames=slice(1, 2))
    assert (part.frames, part.timestamps.tolist()) == (1, [0.0])
    assert [track.identifier for track in part.tracks] == ["1"]  # the other is not seen in this frame
    np.testing.assert_array_equal(part.camera("front").images, small_log.camera("front").images[1:2])
    np.testing.assert_array_equal(part.world_from_ego, small_log.world_from_ego[1:2])
    assert part.lidar[0].shape == (0, 3)
    with pytest.raises(LogError, match=r"log: frames: has 3 frames, of which slice\(3, 5, None\) takes none"):
        read_log(tmp_path / "log", frames=slice(3, 5))


def test_a_log_is_not_overwritten_unasked(tmp_path, small_log, log_differences):
    write_log(small_log, tmp_path / "log")
    with pytest.raises(StorageError, match="pass overwrite=True"):
        write_log(small_log, tmp_path / "log")
    bare = DrivingLog("bare", np.zeros(1), np.eye(4)[None])
    write_log(bare, tmp_path / "log", overwrite=True)
    assert log_differences(read_log(tmp_path / "log"), bare) == []


def test_an_invalid_log_is_not_written(tmp_path):
    with pytest.raises(LogError, match="world_from_ego: pose is not a rotation"):
        write_log(DrivingLog("bent", np.zeros(1), np.full((1, 4, 4), 0.5)), tmp_path / "log")
    assert list(tmp_path.iterdir()) == []


def test_another_version_is_refused(tmp_path, small_log):
    write_folder(tmp_path / "log", lambda f: (f / "a").touch(), kind=KIND, version=VERSION + 1, metadata={})
    with pytest.raises(StorageError, match=r"expected version 1, received 2\. Read the folder with the release"):
        read_log(tmp_path / "log")


def test_a_whole_folder_that_holds_no_log_is_named(tmp_path, small_log):
    write_log(small_log, tmp_path / "log")
    metadata = json.loads((tmp_path / "log/manifest.json").read_text())["metadata"]

    def write(folder):
        np.savez(folder / "arrays.npz", timestamps=small_log.timestamps)

    write_folder(tmp_path / "hollow", write, kind=KIND, version=VERSION, metadata=metadata)
    with pytest.raises(LogError, match=r"hollow: is whole but does not hold what a log of version 1 holds \(KeyError"):
        read_log(tmp_path / "hollow")


def test_a_folder_from_before_lights_and_mounts_is_read(tmp_path, small_log, log_differences):
    """Such folders have no arrays and no words of what there was not yet."""
    old = dataclasses.replace(
        small_log,
        lights=(),
        mounts=(),
        road_map=dataclasses.replace(small_log.road_map, crosswalks=(), line_kinds=()),
    )
    write_log(old, tmp_path / "log")
    metadata = json.loads((tmp_path / "log/manifest.json").read_text())["metadata"]
    for name in ("line_kinds", "mounts", "lights"):
        del metadata[name]
    with np.load(tmp_path / "log/arrays.npz") as stored:
        kept = {k: v for k, v in stored.items() if not k.startswith(("mount_", "light_", "map_crosswalks"))}

    def write(folder):
        np.savez(folder / "arrays.npz", **kept)
        for number in range(len(old.cameras)):
            shutil.copytree(tmp_path / f"log/camera_{number:02d}", folder / f"camera_{number:02d}")

    write_folder(tmp_path / "old", write, kind=KIND, version=VERSION, metadata=metadata)
    assert log_differences(read_log(tmp_path / "old"), old) == []

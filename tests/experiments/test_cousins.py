"""Cousins from the command line: of a small street, twice, stopped in between; and never of what is held out."""

import dataclasses
import json

import cousins
import cousins_worlds
import numpy as np
import pytest
from benchmark_rows import read_rows
from cousins import MakeCousins
from runs import RunError

from jaxrecon.simulator import World
from jaxrecon.street import StreetConfig
from jaxrecon.trajectories import CHECKS, NAMES, StaleCousinsError, read_cousins

SMALL = StreetConfig(layout="curve", length=120.0, seconds=5.0, moving=3, parked=2, pedestrians=1)
FEW = MakeCousins(
    log=("street:5",), families=("offset", "stop", "start"), per_family=2, rounds=1, seconds=3.5, stride=10, width=24,
    height=16, splats=30_000,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small_streets():
    """Streets small enough to assemble in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cousins_worlds, "StreetConfig", lambda: SMALL)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and its report."""
    folder = tmp_path_factory.mktemp("cousins") / "run"
    config = dataclasses.replace(FEW, out=folder, json=folder.parent / "traffic.json")
    config.json.write_text('{"rows": []}', encoding="utf-8")
    return config, cousins.main(config)["street:5"]


def test_it_writes_the_data_set_the_report_and_the_pictures(finished):
    config, report = finished
    data = read_cousins(config.out / f"cousin-{report['log']}", report["scene"])
    assert len(data.started) == report["rows"] and data.started.sum() == report["cousins"] >= 4
    assert data.demonstrations.observation.frames.shape[1:] == (1, 16, 24, 3)
    assert data.demonstrations.observation.frames.std() > 10  # something is drawn
    assert {NAMES[number] for number in data.rows["family"]} <= set(config.families)
    with pytest.raises(StaleCousinsError):
        read_cousins(config.out / f"cousin-{report['log']}", "0" * 64)
    stored = json.loads((config.out / "report.json").read_text(encoding="utf-8"))
    assert stored["gain"]["value"] == report["gain"]["value"] > 1
    assert set(stored["failed"]["stop"]) == set(CHECKS) and stored["known"]["confidence"] is False
    page = (config.out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 3 and "Nothing in this world could tell" in page
    for name in ("paths.png", "strip.png", "histograms.png"):
        assert (config.out / name).stat().st_size > 2000


def test_the_row_stands_beside_others(finished):
    config, report = finished
    (row,) = read_rows(config.json)
    gain = report["gain"]
    assert row["name"] == "cousin_entropy_gain"
    assert row["value"] == pytest.approx(gain["all_cousins"] / gain["log"], rel=1e-4)
    assert row["quality"]["equal_windows"] == pytest.approx(gain["value"], rel=1e-4)
    assert row["quality"]["logs"][report["log"]]["cousins"] == report["cousins"]
    other = {**row, "name": "avoidable_share"}
    config.json.write_text(json.dumps({"rows": [other, row]}), encoding="utf-8")
    cousins._put_row(config.json, {"street:5": report})
    assert [one["name"] for one in read_rows(config.json)] == ["avoidable_share", "cousin_entropy_gain"]


def test_the_same_command_goes_on_to_the_same_bytes(finished, monkeypatch):
    config, report = finished
    folder = config.out / f"cousin-{report['log']}"
    shards = sorted(folder.glob("shard-*"))
    before = [(file, file.read_bytes()) for shard in shards for file in sorted(shard.iterdir())]
    for part in [shards[-1], folder / "index"]:
        for file in part.iterdir():
            file.unlink()
        part.rmdir()

    def not_again(*_, **__):
        raise AssertionError("cousins were drawn again")

    monkeypatch.setattr(cousins, "generate", not_again)
    again = cousins.main(dataclasses.replace(config, json=None))["street:5"]
    assert again["content"] == report["content"]
    assert all(file.read_bytes() == data for file, data in before)


def test_another_configuration_is_refused_there(finished):
    config, _ = finished
    with pytest.raises(RunError, match="another configuration"):
        cousins.main(dataclasses.replace(config, seed=1, json=None))
    with pytest.raises(RunError, match="--families loop: expected some of offset, lane_change"):
        cousins.main(dataclasses.replace(config, families=("loop",)))


def test_held_out_drives_are_refused(data_folder, tmp_path):
    with pytest.raises(RunError, match="street:2003: that street is held out for testing"):
        cousins.main(dataclasses.replace(FEW, log=("street:2003",), out=tmp_path / "a"))
    folder = data_folder / "womd-scenarios"
    held_out = folder / "v1" / "tfrecord-00004-of-01000_61.json.gz"
    with pytest.raises(RunError, match="holds it out for testing; take one to train in"):
        cousins.main(dataclasses.replace(FEW, log=(str(held_out),), out=tmp_path / "b"))


def test_room_is_made_for_what_the_cousins_see(finished):
    config, report = finished
    opened = cousins_worlds.open_world("street:5", (24, 16), 30_000)
    assert isinstance(opened.simulator.world, World) and opened.drawn == "exact" and opened.content == report["scene"]
    rows = read_cousins(config.out / f"cousin-{report['log']}").rows
    # Sky above and road below in every frame: none lacks what is near for want of room.
    assert np.all(rows["frames"][:, 0, -3:].mean(axis=(1, 2, 3)) < 160)

"""The simulator's suite runs at a scale that shows no more than that; its examples run as they stand."""

import json
import os
import pathlib
import runpy
import sys
import types

import jax
import numpy as np
import pytest
import street_worlds
from benchmark import Benchmark, main
from benchmark_rows import BenchmarkError, read_rows
from simulator_rollouts import endure
from simulator_specs import SCALES
from simulator_suite import SimulatorBench
from street_worlds import AHEAD, make_streets, moving_actors, scene_notes, street_log

from jaxrecon.simulator import ALL_TERMS, default_params, reward_weights

EXPERIMENTS = pathlib.Path(__file__).resolve().parents[2] / "experiments"
EXAMPLES = ("functional", "brax", "gymnasium")
ROWS = [
    "state_only_32", "cpu_state_only_32", "camera_4096_peak_gib", "camera_1024x1x96x64", "camera_1024x3x96x64",
    "reality_1024x1x96x64", "first_step_cold_seconds", "first_step_cached_seconds", "million_steps",
]  # fmt: skip


@pytest.fixture
def measure(tmp_path):
    def measured(*names: str, **options):
        path = tmp_path / "rows.json"
        rows = main(Benchmark("simulator", json=path, rows=names, scale="tiny", **options))
        assert read_rows(path) == rows
        json.dumps(rows, allow_nan=False)
        assert all(row["quality"]["scale"] == "tiny" for row in rows)
        return {row["name"]: row for row in rows}

    return measured


def test_rows_of_the_issue_are_there_and_skipped_on_a_cpu(capsys):
    bench = SimulatorBench(SCALES["full"], None)
    assert list(bench.measurements) == ROWS
    assert bench.measurements["camera_1024x1x96x64"]() is None
    assert "[camera_1024x1x96x64] skipped: it is measured on a GPU" in capsys.readouterr().out


def test_streets_that_lack_splats_or_traffic_are_named():
    streets = [_street(300, moving=2), _street(200, moving=1)]
    told = {"scenes": 2, "least_splats_of_a_scene": 200, "least_moving_actors_of_a_scene": 1}
    assert scene_notes(streets, 200, 1) == told
    with pytest.raises(BenchmarkError, match="street 1 has 200 splats; expected at least 201"):
        scene_notes(streets, 201)
    with pytest.raises(BenchmarkError, match="street 1 has 1 moving actors; expected at least 2"):
        scene_notes(streets, 200, 2)


def _street(splats: int, moving: int) -> types.SimpleNamespace:
    """What of a street its notes look at: one track stands, others drive ten metres."""
    gaussians = types.SimpleNamespace(valid=np.arange(400) < splats)
    poses = np.tile(np.eye(4), (1 + moving, 2, 1, 1))
    poses[1:, 1, 0, 3] = 10.0
    log = types.SimpleNamespace(tracks=[types.SimpleNamespace(world_from_box=pose) for pose in poses])
    return types.SimpleNamespace(log=log, made=types.SimpleNamespace(scene=types.SimpleNamespace(gaussians=gaussians)))


@pytest.mark.torture
def test_streets_made_by_processes_are_those_made_here(monkeypatch):
    scale = SCALES["tiny"]
    configs = [scale.street] * 2
    here = make_streets(configs, scale.size, (AHEAD,), scale.assembly)
    monkeypatch.setattr(street_worlds, "PROCESSES_FROM", 2)
    before = dict(os.environ)
    there = make_streets(configs, scale.size, (AHEAD,), scale.assembly)
    assert dict(os.environ) == before
    for one, other in zip(here, there, strict=True):
        assert one.log.name == other.log.name
        parts = [
            (street.made.scene, street.made.obstacles, street.made.ground, street.levels) for street in (one, other)
        ]
        assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, parts), strict=True))


@pytest.mark.torture
def test_rows_without_cameras(measure, capsys):
    rows = measure("cpu_state_only_32", "million_steps", peer="waymax")
    speed, million = rows["cpu_state_only_32"], rows["million_steps"]
    if "peer_value" in speed:
        assert speed["ratio"] == pytest.approx(speed["value"] / speed["peer_value"], rel=1e-4)
    else:
        assert "no row is compared: waymax cannot be imported here" in capsys.readouterr().out
    quality = speed["quality"]
    assert quality["actors"] == 32 and quality["road_points"] >= 2000 and quality["moving_actors"] >= 16
    assert speed["value"] == quality["env_steps_per_second_by_batch"][str(quality["batch"])]
    assert speed["low"] <= speed["value"] <= speed["high"] and 0.5 < quality["valid_share"] <= 1
    quality = million["quality"]
    assert million["value"] >= SCALES["tiny"].million and quality["not_finite"] == 0
    assert quality["memory_growth_bytes"] == 0 and sum(quality["events"]) > 0


@pytest.mark.torture
def test_what_is_not_finite_is_counted():
    bench = SimulatorBench(SCALES["tiny"], None)
    simulator, _ = bench._state_simulator(everything=True)
    params = default_params(reward_weights({"progress": np.nan}, ALL_TERMS))
    endured = endure(simulator, params, 16, 20, False, 1)  # compiled already
    assert endured.counted.broken == endured.counted.valid > 0, "the reward of every driven step"


@pytest.mark.torture
def test_rows_with_cameras(measure):
    rows = measure(
        "camera_4096_peak_gib", "camera_1024x1x96x64", "reality_1024x1x96x64", "first_step_cold_seconds",
        "first_step_cached_seconds",
    )  # fmt: skip
    quality = rows["camera_1024x1x96x64"]["quality"]
    assert quality["overflow_share"] == 0 and quality["scenes"] == 2 and quality["psnr"] > quality["psnr_exact"] - 2
    reality = rows["reality_1024x1x96x64"]["quality"]
    assert reality["rays_an_image"] == 4 * 24 * 16 and min(reality["solids"]) > 50 and reality["valid_share"] > 0.5
    assert rows["camera_4096_peak_gib"]["value"] > 0
    cold, cached = (rows[f"first_step_{kind}_seconds"]["value"] for kind in ("cold", "cached"))
    assert cached < cold


def test_a_street_has_the_traffic_and_the_cameras_that_are_asked_for():
    log = street_log(SCALES["tiny"].street, 0, (24, 16), (0.0, 60.0))
    assert [mount.size for mount in log.mounts] == [(24, 16)] * 2 and log.cameras == ()
    left = log.mounts[1].ego_from_camera[:3, 2]
    assert np.degrees(np.arctan2(left[1], left[0])) == pytest.approx(60.0)
    assert moving_actors(log) >= 3


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_short(name):
    assert len((EXPERIMENTS / f"example_{name}.py").read_text().splitlines()) < 30


@pytest.mark.torture  # what they show has tests of its own
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, capsys, monkeypatch):
    path = EXPERIMENTS / f"example_{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert "clips ended" in capsys.readouterr().out
    jax.clear_caches()

"""The training suite runs at a scale that shows no more than that, and believes no speed of damaged images."""

import dataclasses
import json

import jax
import pytest
import training_suite
from benchmark import Benchmark, main
from benchmark_rows import BenchmarkError, read_rows
from train_ppo import TrainPPO
from training_presets import PRESETS, SHIPPED_PPO, VARIED, network
from training_specs import SCALES
from training_suite import Timed, TrainingBench

from jaxrecon.agents.flops import flops_per_frame

ROWS = [
    "ppo_camera_env_steps_per_second", "ppo_first_update_cold_seconds", "ppo_camera_resnet_env_steps_per_second",
    "ppo_camera_corner_cases_env_steps_per_second",
]  # fmt: skip


def test_rows_of_the_issue_are_there_and_skipped_on_a_cpu(capsys):
    bench = TrainingBench(SCALES["full"])
    assert list(bench.measurements) == ROWS
    assert all(bench.measurements[name]() is None for name in ROWS)
    assert "[ppo_camera_env_steps_per_second] skipped: it is measured on a GPU" in capsys.readouterr().out


def test_the_full_scale_is_what_the_issue_asks_for():
    full = SCALES["full"]
    assert full.size == PRESETS["full"].image == (96, 64) and full.scenes >= 16 and full.least_moving >= 16
    assert full.ppo == dataclasses.replace(SHIPPED_PPO, augmentation=VARIED) and full.ppo.environments == 1024
    assert TrainPPO.varied and full.ppo.imitation_share == TrainPPO.imitation_share == 0.2
    assert full.shipped == PRESETS["full"].policy and flops_per_frame(network(full.shipped, full.size)) <= 80e6
    assert flops_per_frame(network(full.residual, full.size)) > 300e6


@pytest.mark.torture
def test_rows_are_measured(tmp_path, capsys):
    path = tmp_path / "rows.json"
    rows = {row["name"]: row for row in main(Benchmark("training", json=path, rows=tuple(ROWS[:2]), scale="tiny"))}
    assert list(rows) == ROWS[:2] and read_rows(path) == list(rows.values())
    json.dumps(list(rows.values()), allow_nan=False)
    row, quality = rows[ROWS[0]], rows[ROWS[0]]["quality"]
    assert row["low"] <= row["value"] <= row["high"] and quality["scale"] == "tiny"
    assert quality["overflow_share"] == 0 and quality["epochs"] == 2 and quality["mflop_a_frame"] > 0
    parts = quality["seconds_of_its_rollout"] + quality["seconds_of_its_gradient_steps"]
    assert parts == pytest.approx(quality["seconds_of_an_update"], rel=1e-3)
    assert row["value"] == pytest.approx(8 / quality["seconds_of_an_update"], rel=1e-3)
    assert quality["demonstrations"] > 0 and quality["imitation_share"] == 0.2
    cold = rows["ppo_first_update_cold_seconds"]
    assert cold["quality"]["process_seconds"] > cold["value"] > 0
    assert "its rollout" in capsys.readouterr().out


def test_more_room_is_tried_where_images_lack_splats(monkeypatch):
    bench = TrainingBench(SCALES["tiny"])
    monkeypatch.setattr(bench, "_training", lambda cases: bench._room)
    monkeypatch.setattr(bench, "_streets", lambda: ([], {}))
    tried = []

    def time_it(name, room, shape, ppo, updates):
        tried.append(room)
        return Timed((3.0, 2.0, 1.0), 0.1 if room < enough else 0.0, {})

    monkeypatch.setattr(training_suite, "_time", time_it)
    enough = training_suite.ROOMS[1]
    row = bench.measurements[ROWS[0]]()
    assert tried == list(training_suite.ROOMS[:2]) and row["quality"]["room_for_pairs"] == enough
    assert row["value"] == pytest.approx(1e3 * 8 / 2.0) and row["device"] == jax.devices()[0].device_kind
    enough = 100.0
    with pytest.raises(BenchmarkError, match=r"10\.00% of an update's images lack splats"):
        bench.measurements[ROWS[0]]()

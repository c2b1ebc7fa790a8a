"""The traffic's suite runs at a scale that shows no more than that."""

import json

import pytest
from benchmark import Benchmark, main
from benchmark_rows import read_rows
from traffic_specs import SCALES
from traffic_suite import TrafficBench

from jaxrecon.traffic.behaviours import NAMES

ROWS = ["generate_10k_seconds", "cpu_generate_10k_seconds", "adversary_share_of_step", "avoidable_share"]


def test_rows_of_the_issue_are_there_and_skipped_on_a_cpu(capsys):
    bench = TrafficBench(SCALES["full"])
    assert list(bench.measurements) == [*ROWS, *(f"corner_case_{name}" for name in NAMES)]
    assert bench.measurements["generate_10k_seconds"]() is None
    assert "[generate_10k_seconds] skipped: it is measured on a GPU" in capsys.readouterr().out


@pytest.mark.torture
def test_rows_are_measured(tmp_path):
    path, names = tmp_path / "rows.json", ("adversary_share_of_step", "generate_10k_seconds", "corner_case_hard_brake")
    rows = {row["name"]: row for row in main(Benchmark("traffic", json=path, rows=names, scale="tiny"))}
    assert read_rows(path) == list(rows.values())
    json.dumps(list(rows.values()), allow_nan=False)
    assert all(row["quality"]["scale"] == "tiny" for row in rows.values())
    share = rows["adversary_share_of_step"]["quality"]
    assert 0 < share["ms_per_undrawn_step"] <= share["ms_per_step"] and share["environments"] == 4
    made = rows["generate_10k_seconds"]["quality"]
    assert made["sound_cases"] == 6 and 0 < made["acceptance"] <= 1
    brake = rows["corner_case_hard_brake"]
    assert brake["quality"]["avoidable_share"] == 1.0 and 0 <= brake["value"] <= 1

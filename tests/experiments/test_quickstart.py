"""The quickstart runs every stage on the embedded default, shows its results, and never does a thing twice."""

import json
import pathlib
import re
import subprocess
import sys

import imageio.v2 as imageio
import numpy as np
import pytest
from stages import street_seed

from jaxrecon.agents import load_policy
from jaxrecon.logs import read_log
from jaxrecon.metrics.closed_loop import METRICS
from jaxrecon.scene.files import load_scene
from jaxrecon.scene.ply import read_ply

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "quickstart.py"


def quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--preset", "tiny", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPT.parents[1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[pathlib.Path, str]:
    """The folder of one finished run, and what it printed."""
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    result = quickstart("--out", str(folder))
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


@pytest.mark.slow
def test_summary_has_what_it_promises(finished):
    folder, printed = finished
    summary = json.loads((folder / "summary.json").read_text())
    assert {"heldout_psnr", "heldout_psnr_static", "env_steps_per_second", "seconds", "metrics"} <= summary.keys()
    assert 10 < summary["heldout_psnr"] < 60
    assert summary["env_steps_per_second"] > 0
    stages = {name: value for name, value in summary["seconds"].items() if name != "total"}
    assert list(stages) == ["log", "reconstruction", "imitation", "ppo", "evaluation", "pictures"]
    assert summary["seconds"]["total"] == pytest.approx(sum(stages.values()))
    assert list(summary["metrics"]) == ["expert", "imitation", "ppo"]
    for driver, metrics in summary["metrics"].items():
        assert list(metrics) == list(METRICS)
        assert metrics["CR"] == pytest.approx(metrics["DCR"] + metrics["SCR"])
        assert metrics["DR"] == pytest.approx(metrics["PDR"] + metrics["HDR"])
        for name, (low, high) in summary["intervals"][driver].items():
            # The recorded driver's share of the way is one everywhere: rounding alone separates mean and bounds.
            assert low - 1e-5 <= metrics[name] <= high + 1e-5
    assert summary["metrics"]["expert"]["CR"] + summary["metrics"]["expert"]["DR"] == 0
    assert summary["overflow_share"] == 0
    difference = summary["difference"]["CR+DR"]
    ended = {driver: metrics["CR"] + metrics["DR"] for driver, metrics in summary["metrics"].items()}
    assert difference["mean"] == pytest.approx(ended["ppo"] - ended["imitation"], abs=1e-6)
    assert re.search(r"PPO minus imitation, CR\+DR: [+-]\d\.\d{3}, 95 % interval", printed)


@pytest.mark.slow
def test_results_open_again(finished):
    folder, _ = finished
    summary = json.loads((folder / "summary.json").read_text())
    log = read_log(folder / "log" / "recording")
    assert (log.name, log.frames) == (summary["log"]["name"], summary["log"]["frames"])
    scene, metadata = load_scene(folder / "reconstruction" / "scene")
    assert metadata["log"] == log.name
    assert 0 < read_ply(folder / "scene.ply").capacity <= int(np.sum(scene.gaussians.valid))
    for name in ("imitation", "ppo"):
        policy, _ = load_policy(folder / name / "policy")
        assert (policy.config.width, policy.config.height) == (16, 12)
    film = imageio.mimread(folder / "rollout.mp4", format="FFMPEG", memtest=False)
    assert len(film) > 20
    assert film[0].shape[:2] != film[0].shape[1:]
    for name in ("reconstruction.png", "learning_curve.png"):
        assert np.std(imageio.imread(folder / name)) > 1
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 2 and page.count("data:video/mp4") == 1
    assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_second_run_says_where_the_results_are_and_changes_nothing(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    result = quickstart("--out", str(folder))
    assert result.returncode == 0
    assert f"{folder} holds the finished results of this configuration" in result.stdout
    assert str(folder / "report.html") in result.stdout
    other = quickstart("--out", str(folder), "--seed", "1")
    assert other.returncode == 1
    assert "holds a run with another configuration (seed is 0 there, 1 now)" in other.stderr
    assert "Choose another folder with --out" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_log_that_does_not_exist_is_named_and_leaves_nothing(tmp_path):
    result = quickstart("--log", str(tmp_path / "absent"), "--out", str(tmp_path / "run"))
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert str(tmp_path / "absent") in result.stderr and "does not exist" in result.stderr
    assert not list(tmp_path.iterdir())


def test_sources_are_told_apart():
    assert [street_seed(source) for source in ("street", "street:7", "streets", "./street", "a/street:7")] == [
        0, 7, None, None, None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="--log street:x: expected street or street:SEED with a whole number"):
        street_seed("street:x")

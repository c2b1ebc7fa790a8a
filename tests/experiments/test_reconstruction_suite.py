"""The suite rebuilds drives at a scale that only shows that it runs, beside a peer that only answers."""

import dataclasses
import json
from functools import partial

import benchmark
import numpy as np
import pytest
from benchmark import Benchmark, main
from benchmark_rows import BenchmarkError, read_rows
from reconstruct_presets import LEAST_SPLATS, MOST_SPLATS, PAIRS_PER_SPLAT, PRESETS, TINY_FIT, fit_config
from reconstruction_drives import Drive, least_margin, without
from reconstruction_peer import GsplatTrainer, training_set
from reconstruction_specs import KITTI_0005, KITTI_0013, SCALES
from reconstruction_suite import ReconstructionBench

from jaxrecon.logs import write_log
from jaxrecon.reconstruct import collect_views

KITTI_0013_ROWS = [f"kitti0013_{key}" for key in ("psnr", "psnr_static", "psnr_actors", "ssim", "lpips", "seconds")]
GOALS = ["policy_form_psnr_kitti0013", "kitti0005_lateral_psnr_gain_over_gsplat", "street_3m_psnr_gain_over_gsplat"]


@pytest.fixture
def measure(stereo, tmp_path, monkeypatch, stand_in_trainer):
    """Measures rows of the suite on stand-ins of both drives, and returns them by name."""
    data = tmp_path / "data"
    write_log(dataclasses.replace(stereo, cameras=stereo.cameras[:1]), data / KITTI_0013)
    write_log(stereo, data / KITTI_0005)
    monkeypatch.setenv("JAXRECON_DATA", str(data))
    monkeypatch.setattr(benchmark, "GsplatTrainer", partial(GsplatTrainer, child=stand_in_trainer))

    def measured(*names: str, **options):
        config = Benchmark("reconstruction", json=tmp_path / "rows.json", rows=names, scale="tiny", **options)
        rows = main(config)
        assert read_rows(tmp_path / "rows.json") == rows
        return {row["name"]: row for row in rows}

    return measured


@pytest.mark.torture
def test_rows_of_one_fit_agree_and_stand_beside_the_peer(measure):
    rows = measure(*KITTI_0013_ROWS, "ablation_no_lidar", peer="gsplat")
    assert list(rows) == [*KITTI_0013_ROWS, "ablation_no_lidar"]
    whole = rows["kitti0013_psnr"]
    quality = whole["quality"]
    for name in KITTI_0013_ROWS:
        key = name.removeprefix("kitti0013_")
        assert rows[name]["value"] == quality.get(key, whole["value"]), "all from one run"
        assert rows[name]["peer_name"] == "gsplat stand-in" and "ratio" not in rows[name]
    assert rows["kitti0013_seconds"]["peer_value"] == quality["gsplat"]["seconds"] == 0.5
    # The stand-in's probe of three steps took half a second.
    assert quality["gsplat"]["steps"] == pytest.approx(3 * quality["seconds"] / 0.5, abs=0.51)
    assert [len(point) for point in quality["curve"]] == [2] * 2 and quality["curve"][-1][1] == whole["value"]
    assert quality["least_margin_from_10_s"] == pytest.approx(whole["value"] - 20.0, abs=1e-3)
    lost = rows["ablation_no_lidar"]
    assert lost["value"] == pytest.approx(lost["quality"]["psnr"] - whole["value"], abs=1e-3)
    assert lost["quality"]["psnr_static"] > 10 and lost["quality"]["ssim_difference"] != 0
    assert all(row["quality"]["scale"] == "tiny" for row in rows.values())
    json.dumps(rows, allow_nan=False)


@pytest.mark.torture
def test_the_second_camera_is_the_truth_beside_the_path(measure):
    rows = measure("kitti0005_lateral_psnr", "kitti0005_lateral_psnr_gain_over_gsplat", peer="gsplat")
    ours, gain = rows["kitti0005_lateral_psnr"], rows["kitti0005_lateral_psnr_gain_over_gsplat"]
    assert ours["quality"]["camera"] == "image_03" and ours["quality"]["views"] == 12
    assert ours["quality"]["baseline_m"] == pytest.approx(0.53)
    assert sum(one["share"] for one in ours["quality"]["bins"]) == pytest.approx(1)
    assert gain["value"] == pytest.approx(ours["value"] - gain["peer_value"], abs=1e-3)
    assert gain["quality"]["kitti0005"]["gsplat"]["ssim"] < 0.5, "the stand-in answers grey"


@pytest.mark.torture
def test_streets_are_judged_by_their_ray_caster_and_a_cpu_fits_the_demo(measure):
    names = "street_3m_psnr", "street_6m_psnr", "street_3m_psnr_gain_over_gsplat", "cpu_street_psnr"
    rows = measure(*names, "cpu_street_seconds", peer="gsplat")
    assert rows["street_3m_psnr"]["value"] > rows["street_6m_psnr"]["value"] > 8
    near = rows["street_3m_psnr"]["quality"]["street 0"]
    assert near["baseline_m"] == 3 and near["views"] + near["views_blocked"] == 3
    gain = rows["street_3m_psnr_gain_over_gsplat"]
    assert gain["value"] == pytest.approx(rows["street_3m_psnr"]["value"] - gain["peer_value"], abs=1e-3)
    seconds = rows["cpu_street_seconds"]
    assert seconds["value"] == rows["cpu_street_psnr"]["quality"]["seconds"] > 0
    assert seconds["quality"]["psnr"] == rows["cpu_street_psnr"]["value"] and "peer_name" not in seconds


@pytest.mark.torture
def test_the_policy_form_and_the_lack_of_actors_are_measured(measure):
    rows = measure("policy_form_psnr_kitti0013", "ablation_no_actors")
    form = rows["policy_form_psnr_kitti0013"]
    assert form["value"] > 20 and form["quality"]["psnr_exact"] > 20 and form["quality"]["size"] == "96x64"
    beside = {"psnr_undistilled", "psnr_heldout", "psnr_beside", "psnr_beside_undistilled"}
    assert beside <= form["quality"].keys() and form["quality"]["distil_seconds"] > 0
    row = rows["ablation_no_actors"]
    assert np.isfinite(row["value"]) and row["quality"]["psnr_actors"] > 5, "boxes bound actors without a model too"


def test_what_cannot_be_measured_here_is_skipped_with_a_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXRECON_DATA", str(tmp_path))
    assert main(Benchmark("reconstruction", rows=("kitti0013_psnr", *GOALS[:2]), scale="tiny")) == []
    printed = capsys.readouterr().out
    assert f"[kitti0013_psnr] skipped: there is no {tmp_path / KITTI_0013}" in printed and "JAXRECON_DATA" in printed
    assert "[kitti0005_lateral_psnr_gain_over_gsplat] skipped: it compares with gsplat; pass --peer gsplat" in printed
    assert main(Benchmark("reconstruction", rows=("street_3m_psnr",))) == []
    assert "skipped: it is measured on a GPU, and JAX runs on cpu here" in capsys.readouterr().out


@pytest.mark.torture
def test_a_peer_that_fails_costs_its_comparison_alone(measure, tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text("raise SystemExit(3)")
    monkeypatch.setattr(benchmark, "GsplatTrainer", partial(GsplatTrainer, child=child))
    names = "kitti0005_lateral_psnr", "kitti0005_lateral_psnr_gain_over_gsplat", "kitti0013_psnr"
    with pytest.raises(BenchmarkError, match="kitti0013_psnr, kitti0005_lateral_psnr_gain_over_gsplat"):
        measure(*names, peer="gsplat")
    rows = {row["name"]: row for row in read_rows(tmp_path / "rows.json")}
    assert set(rows) == {"kitti0005_lateral_psnr", "kitti0013_psnr"}
    assert "ended with 3" in rows["kitti0013_psnr"]["quality"]["gsplat_error"]


def test_rows_of_the_issue_are_there():
    names = list(ReconstructionBench(SCALES["full"], None).measurements)
    assert {*KITTI_0013_ROWS, *GOALS, "kitti0005_lateral_psnr", "street_3m_psnr", "street_6m_psnr"} <= set(names)
    assert {"cpu_street_psnr", "cpu_street_seconds"} <= set(names)
    assert [name for name in names if name.startswith("ablation_")] == [
        "ablation_no_exposure", "ablation_no_actors", "ablation_no_lidar", "ablation_no_poses",
    ]  # fmt: skip


def test_slots_follow_the_pixels_and_a_street_keeps_its_exact_poses(stereo):
    preset = PRESETS["gpu"]
    few = fit_config(preset, stereo, 1, recorded=True)
    assert few.initial.capacity == LEAST_SPLATS and few.exposure and few.poses and few.actors
    wide = dataclasses.replace(stereo.cameras[0], images=np.zeros((144, 375, 1242, 3), np.uint8))
    large = dataclasses.replace(stereo, timestamps=np.arange(144.0), cameras=(wide,))
    config = fit_config(preset, large, 1, recorded=False)
    assert config.initial.capacity == MOST_SPLATS and not (config.exposure or config.poses or config.actors)
    assert config.render.raster.pairs_per_camera == PAIRS_PER_SPLAT * MOST_SPLATS
    halved = dataclasses.replace(preset, fit=dataclasses.replace(preset.fit, width=621))
    # Three of four frames are learned from.
    assert fit_config(halved, large, 1, recorded=True).initial.capacity == 108 * 621 * 375 // 2 // 50
    for preset in (SCALES["full"].kitti0013, SCALES["full"].kitti0005):
        assert preset.fit.seconds < 60, "the last call must end within the minute"


def test_ablations_take_one_thing_away(stereo):
    drive = Drive(stereo, stereo.cameras[0], TINY_FIT)
    assert without("actors", drive).log.tracks == () and without("actors", drive).config == TINY_FIT
    lidar = without("lidar", drive).config
    assert (lidar.weights.depth, lidar.weights.cover) == (
        0,
        0,
    ) and lidar.weights.similarity == TINY_FIT.weights.similarity
    assert not without("exposure", drive).config.exposure and without("exposure", drive).config.poses
    assert not without("poses", drive).config.poses and without("poses", drive).config.exposure


def test_a_lead_is_the_least_from_some_time_on():
    theirs = [[5.0, 30.0], [10.0, 19.0], [20.0, 20.5], [40.0, 21.5]]
    assert least_margin([[0.0, 10.0], [20.0, 20.0], [30.0, 22.0]], theirs) == pytest.approx(-4.0)  # 15 against 19
    assert least_margin([[10.0, 20.0], [20.0, 22.0]], theirs, since=11) == pytest.approx(0.5)  # flat after 20 s
    assert least_margin([[10.0, 20.0]], theirs, since=50) is None


def test_the_peer_sees_recorded_poses_and_lidar_outside_boxes(stereo):
    camera = stereo.cameras[0]
    views = collect_views(stereo, camera.name)
    drifted = dataclasses.replace(views, world_from_camera=views.world_from_camera + 1.0)
    given = training_set(stereo, camera, drifted, TINY_FIT, [])
    np.testing.assert_allclose(given.world_from_camera, stereo.world_from_camera(camera))
    assert 4 < len(given.points) <= TINY_FIT.initial.capacity and given.novel is None
    np.testing.assert_array_equal(given.heldout, [2, 6, 10])
    assert given.masks.shape == views.images.shape[:3] and 0.5 < given.masks.mean() < 1
    for track in stereo.tracks:
        local = (given.points - track.world_from_box[0, :3, 3]) @ track.world_from_box[0, :3, :3]
        if np.allclose(track.world_from_box[0], track.world_from_box[-1]):  # it stands
            assert not (np.abs(local) < track.size / 2).all(axis=1).any()

"""The benchmark measures rows in the format that is promised, beside a peer that sees the same scene."""

import json
import pathlib
import sys

import benchmark
import numpy as np
import pytest
from benchmark import Benchmark, main
from benchmark_rows import OPTIONAL, REQUIRED, BenchmarkError, check_row, make_row, read_rows, write_rows
from benchmark_timing import Timing, measure
from gsplat_peer import GsplatPeer, PeerError
from rasterizer_quality import box_filtered, psnr
from rasterizer_specs import SPECS, RowSpec
from rasterizer_suite import Inputs, RasterizerBench
from splat_street import actor_poses, road_cameras, street

STAND_INS = pathlib.Path(__file__).with_name("stand_ins")
TINY = RowSpec("tiny", "exact", 2, 16, 8, 200, device="cpu", sets=1, shown=2)


@pytest.fixture(scope="module")
def stand_in():
    """A peer whose torch and gsplat are stand-ins on NumPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(STAND_INS))
        peer = GsplatPeer()
        yield peer
        peer.close()


class AskedOnCpu(RasterizerBench):
    """Takes this CPU for a GPU, so that the rows with a peer can be measured."""

    def row(self, spec):
        measured = {"exact": self._exact, "policy": self._policy, "own_splats": self._own_splats}
        measured |= {"gradient": self._gradient, "scenes": self._scenes}
        return measured[spec.form](spec, Inputs(spec))


@pytest.mark.slow
def test_row_has_the_promised_keys():
    row = RasterizerBench("auto", 2, None).row(TINY)
    assert set(REQUIRED) <= set(row) <= set(REQUIRED) | set(OPTIONAL)
    assert row["unit"] == "images/s" and row["low"] <= row["value"] <= row["high"]
    assert "ratio" not in row and "peer_value" not in row
    assert row["quality"]["overflow"] == 0
    assert row["quality"]["psnr_against_reference"] > 60
    json.dumps(row, allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("exact", {"psnr_against_gsplat": 60}),
        ("policy", {"psnr": 10, "psnr_exact": 10, "psnr_gsplat": 10, "psnr_gsplat_antialiased": 10}),
        ("own_splats", {"psnr_against_gsplat": 60, "splats_per_camera": 1}),
        ("gradient", {"psnr_against_gsplat": 60}),
    ],
)
def test_peer_sees_what_we_draw(stand_in, form, expected):
    spec = RowSpec("tiny", form, 4, 16, 8, 200, device="gpu", sets=1, shown=3)
    timing, answer, quality = AskedOnCpu("xla", 1, stand_in).row(spec)
    assert timing.median > 0 and answer.timing.median > 0 and answer.version == "stand-in"
    for name, least in expected.items():
        assert quality[name] >= least, name
    assert quality["overflow"] == 0
    if form == "exact":
        assert answer.notes["forms"]["not packed, 4 cameras a call"] == "out of memory"
        assert answer.notes["form"] == "packed, 4 cameras a call"
        assert isinstance(answer.timing.by_input, tuple)
    if form == "gradient":
        # The stand-in's gradient is zero: any other is infinitely far from it, relatively.
        assert set(quality["gradient_relative_l2_against_gsplat"]) == {
            "means", "quaternions", "scales", "opacities", "colours",
        }  # fmt: skip


@pytest.mark.slow
def test_many_scenes_with_actors_are_judged_without_a_peer():
    spec = RowSpec("tiny", "scenes", 2, 16, 8, 100, sets=1, shown=2, scenes=2, actors=1)
    timing, answer, quality = AskedOnCpu("xla", 1, None).row(spec)
    assert answer is None and timing.median > 0
    assert np.isfinite(quality["psnr_gain"]) and quality["overflow"] == 0


def test_rows_of_the_issue_are_there_and_skipped_on_a_cpu(capsys):
    names = {spec.name for spec in SPECS}
    assert {"fwd_1x1600x900_1M", "fwd_1024x96x64_1M_exact", "fwd_1024x96x64_16_scenes_16_actors"} <= names
    assert {spec.name for spec in SPECS if spec.device == "cpu"} == {"cpu_fwd_16x96x64_30k", "cpu_fwd_16x48x32_30k"}
    assert RasterizerBench("xla", 1, None).row(SPECS[0]) is None
    assert "skipped" in capsys.readouterr().out


def test_unknown_names_are_refused_by_name():
    with pytest.raises(BenchmarkError, match="suite 'walking' is unknown; expected one of"):
        main(Benchmark("walking"))
    with pytest.raises(BenchmarkError, match=r"rows \['fast'\] are unknown; suite 'rasterizer' has"):
        main(Benchmark("rasterizer", rows=("fast",)))


def test_what_fails_costs_only_its_own_row(tmp_path, monkeypatch):
    def good(name):
        return lambda: make_row(name, 1.0, "ms", {"psnr": 40.0})

    def bad():
        raise BenchmarkError("3 images lack splats")

    monkeypatch.setitem(benchmark.SUITES, "rasterizer", lambda *_: {"a": good("a"), "b": bad, "c": good("c")})
    path = tmp_path / "new" / "rows.json"
    with pytest.raises(BenchmarkError, match="could not be measured: b"):
        main(Benchmark("rasterizer", json=path))
    assert [row["name"] for row in read_rows(path)] == ["a", "c"]
    # Rows that are measured again are replaced, the others stay.
    main(Benchmark("rasterizer", json=path, rows=("a",)))
    assert [row["name"] for row in read_rows(path)] == ["c", "a"]
    assert [file.name for file in path.parent.iterdir()] == ["rows.json"]


def test_a_row_out_of_format_is_not_written(tmp_path):
    row = make_row("speed", np.float32(1.23456789), "ms", {"psnr": np.float32(36), "worst": float("nan")}, low=None)
    assert row["value"] == 1.23457 and row["quality"] == {"psnr": 36.0, "worst": None} and "low" not in row
    with pytest.raises(BenchmarkError, match=r"row speed: keys \['unit'\] are missing, keys \['units'\] are unknown"):
        check_row({"units" if key == "unit" else key: value for key, value in row.items()})
    path = tmp_path / "rows.json"
    write_rows(path, [row])
    with pytest.raises(BenchmarkError, match="value is inf"):
        write_rows(path, [row | {"value": float("inf")}])
    assert read_rows(path) == [row]
    path.write_text("[]")
    with pytest.raises(BenchmarkError, match="holds no rows"):
        read_rows(path)


def test_a_peer_that_cannot_start_says_so(tmp_path):
    child = tmp_path / "child.py"
    child.write_text("raise SystemExit(3)")
    peer = GsplatPeer(child)
    with pytest.raises(PeerError, match="ended with 3"):
        peer.ask("images", {})
    peer.close()


def test_every_call_is_waited_for_and_every_input_counts_alike():
    numbers: list[int] = []
    waits: list[int] = []
    timing = measure(numbers.append, lambda _: waits.append(len(numbers)), repeats=4, inputs=3)
    assert timing.low <= timing.median <= timing.high and isinstance(timing, Timing)
    assert numbers[:13] == [*range(6), 0, *range(6)], "warm-up, one by which the rest is planned, samples"
    assert waits[:8] == [6, *range(7, 14)], "one wait for all warm-up, then one for each call"
    assert timing.samples == 6 and len(timing.by_input) == 3
    assert timing.back_to_back is not None and timing.notes["ms_back_to_back"] == timing.back_to_back


def test_long_calls_are_timed_less_often(monkeypatch):
    clock = iter(np.arange(100.0))
    monkeypatch.setattr("benchmark_timing.time.perf_counter", lambda: next(clock))
    timing = measure(lambda _: None, lambda _: None, repeats=20)
    assert (timing.median, timing.samples, timing.back_to_back) == (1000, 5, None)
    assert timing.notes == {"samples": 5}


def test_street_has_its_shares():
    splats = street(1000)
    counts = np.bincount(splats.kind) / 1000
    np.testing.assert_allclose(counts, (0.35, 0.45, 0.2))
    ground, facade = splats.means[splats.kind == 0], splats.means[splats.kind == 1]
    assert np.abs(ground[:, 2]).max() < 0.2 and np.abs(ground[:, 1]).max() <= 12
    assert (np.abs(facade[:, 1]) >= 12).all() and facade[:, 2].min() >= 0 and facade[:, 2].max() <= 15
    assert splats.means[:, 0].min() > -10 and splats.means[:, 0].max() < 210
    np.testing.assert_allclose(np.linalg.norm(splats.quaternions, axis=1), 1, rtol=1e-6)
    # The scales' median is 0.8 of the side of a square that holds one splat.
    np.testing.assert_allclose(np.median(splats.scales[splats.kind == 0]), 0.8 * np.sqrt(200 * 24 / 350), rtol=0.1)
    assert not splats.group.any()
    moving = street(1000, actors=4)
    assert set(moving.group[moving.kind == 2]) == {1, 2, 3, 4} and not moving.group[moving.kind < 2].any()
    assert np.abs(moving.means[moving.kind == 2]).max() < 10, "in frames of their own"


def test_cameras_stand_on_the_road_and_see_actors_around_them():
    poses = road_cameras(50)
    eyes = -np.einsum("cji,cj->ci", poses[:, :3, :3], poses[:, :3, 3])
    np.testing.assert_allclose(eyes[:, 2], 1.6, rtol=1e-5)
    assert np.abs(eyes[:, 1]).max() <= 4 and (poses[:, 2, 0] > 0.7).all(), "they look along the street"
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (50, 1, 1)), atol=1e-6)
    ahead = actor_poses(poses, 3, 0)[..., 0, 3] - eyes[:, :1]
    assert ahead.min() >= -20.01 and ahead.max() <= 60.01


def test_quality_is_measured_from_pooled_errors():
    image = np.full((2, 4, 4, 3), 0.5)
    assert psnr(image, image) == pytest.approx(150)
    assert psnr(image, image + 0.1) == pytest.approx(20)
    np.testing.assert_allclose(
        box_filtered(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]]
    )


def test_the_device_memory_is_not_taken_at_once():
    assert "jax" in sys.modules  # by now; the setting came first
    assert benchmark.os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"

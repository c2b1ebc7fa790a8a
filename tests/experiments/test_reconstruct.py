"""The script leaves a scene, its metrics and its pictures, never does a thing twice and never loses what it had."""

import json
import pathlib

import imageio.v2 as imageio
import numpy as np
import pytest
from film import Film
from film import main as film
from PIL import Image
from policy_form import DISTIL
from reconstruct import Reconstruct, main
from reconstruct_presets import PRESETS
from runs import RunError

from jaxrecon.logs import LogError, write_log
from jaxrecon.reconstruct import heldout_frames, load_support
from jaxrecon.scene import build_levels, load_levels, load_scene, read_parts, read_spz
from jaxrecon.storage import MANIFEST

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recording(stereo, tmp_path_factory) -> str:
    """A folder with a recorded drive of two cameras."""
    folder = tmp_path_factory.mktemp("recording") / "drive"
    write_log(stereo, folder)
    return str(folder)


@pytest.fixture(scope="module")
def finished(recording, tmp_path_factory) -> tuple[Reconstruct, dict]:
    """A run that finished, and what it returned."""
    out = tmp_path_factory.mktemp("reconstruct") / "run"
    config = Reconstruct(log=recording, out=out, preset="tiny", export=("ply", "spz"))
    return config, main(config)


def _state(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_metrics_hold_what_is_promised(finished):
    config, metrics = finished
    assert json.loads((config.out / "metrics.json").read_text()) == metrics
    assert list(metrics["heldout"]) == ["psnr", "psnr_static", "psnr_actors", "ssim", "lpips"]
    assert 10 < metrics["heldout"]["psnr"] < 60 and 0 < metrics["heldout"]["lpips"] < 1
    beside = metrics["lateral"]["image_03"]
    assert beside["baseline_m"] == pytest.approx(0.53) and beside["views"] == 12
    assert {"psnr", "ssim", "lpips", "psnr_colour_fitted", "bins"} <= beside.keys()
    assert {"low", "high", "psnr", "ssim", "share"} == beside["bins"][0].keys()
    assert {"seconds", "seconds_compile", "gaussians", "steps", "device"} <= metrics.keys()
    assert metrics["steps"] == metrics["curve"][-1]["step"] == 10 and not metrics["interrupted"]
    assert metrics["curve"][-1]["psnr"] == metrics["heldout"]["psnr"]
    assert metrics["camera"] == "image_02" and len(metrics["certificate"]["bins"]["error"]) == 10


def test_results_open_again(finished):
    config, metrics = finished
    scene, note = load_scene(config.out / "scene")
    assert (
        int(scene.gaussians.valid.sum()) == metrics["gaussians"] and note["heldout_psnr"] == metrics["heldout"]["psnr"]
    )
    parts = read_parts(config.out / "parts")
    assert parts.gaussians.capacity == metrics["gaussians"] and parts.actors == scene.actors
    assert 0 < read_spz(config.out / "scene.spz").capacity <= metrics["gaussians"]
    with np.load(config.out / "fitted.npz") as fitted:
        assert fitted["world_from_camera"].shape == (12, 4, 4) and fitted["log_gain"].shape == (12, 3)
    sheet = imageio.imread(config.out / "sheet.png")
    assert sheet.shape[1] > 5 * 480 and np.std(sheet) > 1, "five columns"
    certificate = json.loads((config.out / "certificate.json").read_text())
    assert certificate["offsets"] == [-3.0, 0.0, 3.0]
    support, note = load_support(config.out / "support")
    assert support.views.shape == scene.gaussians.valid.shape and note["scene"] == metrics["scene_hash"]
    assert {path.name for path in config.out.iterdir()} == {
        "run.json", "log", "scene", "support", "parts", "scene.spz", "fitted.npz", "sheet.png", "certificate.html",
        "certificate.json", "metrics.json",
    }  # fmt: skip


def test_a_drive_is_filmed_along_its_path_and_beside_it(finished, tmp_path):
    config, _ = finished
    shots = {}
    for aside in (0.0, 2.0):
        path = film(Film(config.out, tmp_path / f"{aside}.webp", seconds=0.55, width=96, every=2, aside=aside))
        with Image.open(path) as pictures:
            assert pictures.n_frames == 3
            shots[aside] = np.asarray(pictures.convert("RGB")).astype(float)
    left, above = np.s_[40:160, :500], np.s_[40:160, 530:]
    assert np.abs(shots[0.0] - shots[2.0])[left].mean() > 1, "the camera stands elsewhere"
    np.testing.assert_allclose(shots[0.0][above], shots[2.0][above], atol=6)
    with pytest.raises(RunError, match=r"holds no fitted\.npz; pass the folder that `reconstruct\.py --out` wrote"):
        film(Film(tmp_path))
    with pytest.raises(RunError, match=r"--seconds -1 leaves no frame"):
        film(Film(config.out, seconds=-1))


def test_the_saved_form_is_the_distilled_one_and_is_judged_beside_the_built_one(finished):
    config, metrics = finished
    scene, _ = load_scene(config.out / "scene")
    saved, built = load_levels(config.out / "scene"), build_levels(scene)
    np.testing.assert_array_equal(saved.cell, built.cell)
    assert np.abs(saved.sh - built.sh).max() > 1e-4, "distilled"
    told = metrics["policy_form"]
    assert told["psnr"] != told["psnr_undistilled"] and told["psnr_beside"] != told["psnr_beside_undistilled"]
    assert told["build_seconds"] > 0 and told["distil_seconds"] > 0 and told["size"] == "96x64"
    assert told["frames"] == len(heldout_frames(12).nonzero()[0]), "as many as are held out"


def test_distilling_can_be_switched_off_and_bounded():
    assert Reconstruct(preset="gpu", distil="off").distilling is None
    assert Reconstruct(preset="cpu").distilling is None and Reconstruct(preset="cpu", distil="on").distilling
    assert Reconstruct(preset="gpu").distilling == DISTIL["gpu"]
    assert Reconstruct(preset="gpu", distil_seconds=3.0).distilling.seconds == 3
    with pytest.raises(RunError, match=r"--distil-seconds: DistilConfig\.seconds is -1\.0"):
        _ = Reconstruct(preset="gpu", distil_seconds=-1.0).distilling


def test_a_second_run_fits_nothing_and_another_one_is_refused(finished, recording, capsys):
    config, metrics = finished
    before = _state(config.out)
    again = Reconstruct(log=recording, out=config.out, preset="tiny")
    assert main(again) == metrics
    assert "holds the finished results of this configuration; nothing is fitted again" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"another configuration \(seed is 0 there, 1 now\).*Choose another folder"):
        main(Reconstruct(log=recording, out=config.out, preset="tiny", seed=1))
    assert _state(config.out) == before
    (config.out / "scene.spz").unlink()
    main(Reconstruct(log=recording, out=config.out, preset="tiny", export=("spz",)))
    assert (config.out / "scene.spz").exists(), "what is asked for later is written from the saved scene"


@pytest.mark.torture
def test_what_an_interrupt_left_is_gone_on_from(finished, recording, tmp_path, monkeypatch, capsys):
    calls = []

    class Bar:
        """A progress bar on which the user presses Ctrl-C after the first call."""

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def __getattr__(self, _):
            return lambda *_, **__: None

        def set_postfix(self, **_):
            calls.append(1)
            if len(calls) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.tqdm", Bar)
    config = Reconstruct(log=recording, out=tmp_path / "run", preset="tiny")
    reached = main(config)
    assert reached["interrupted"] and reached["steps"] == 5 and reached["policy_form"] is None
    assert (config.out / "checkpoint" / MANIFEST).exists() and load_scene(config.out / "scene")
    assert "stopped after 5 steps" in capsys.readouterr().out
    metrics = main(config)
    assert "going on from it" in capsys.readouterr().out
    assert metrics["steps"] == 10 and not metrics["interrupted"] and not (config.out / "checkpoint").exists()
    _, whole = finished
    assert metrics["heldout"]["psnr"] == pytest.approx(whole["heldout"]["psnr"], abs=1e-4), "as if never interrupted"


@pytest.mark.torture
def test_a_street_is_judged_beside_its_path_by_its_ray_caster(tmp_path):
    metrics = main(Reconstruct(log="street:0", out=tmp_path / "run", preset="tiny"))
    assert list(metrics["lateral"]) == ["3m", "6m"]
    assert metrics["lateral"]["3m"]["psnr"] > 10
    fitted = metrics["config"]
    assert not (fitted["exposure"] or fitted["poses"] or fitted["actors"]), "a street's camera and poses are exact"


def test_budgets_replace_the_preset_s():
    assert Reconstruct(preset="gpu").chosen == PRESETS["gpu"]
    assert Reconstruct().chosen == PRESETS["cpu"], "tests run on a CPU"
    hurried = Reconstruct(preset="cpu", seconds=5.0).chosen.fit
    assert hurried.seconds == 5 and hurried.steps > 10**8
    counted = Reconstruct(preset="gpu", steps=70, width=64).chosen.fit
    assert (counted.seconds, counted.steps, counted.width) == (None, 70, 64)
    with pytest.raises(RunError, match=r"--width, --seconds or --steps: FitConfig\.steps is 0"):
        main(Reconstruct(steps=0))


def test_what_is_not_there_is_named_and_leaves_nothing(recording, tmp_path):
    with pytest.raises(RunError, match=r"--camera rear: .* has \['image_02', 'image_03'\]; name one of them, or `all`"):
        main(Reconstruct(log=recording, out=tmp_path / "run", preset="tiny", camera="rear"))
    with pytest.raises(LogError, match="does not exist"):
        main(Reconstruct(log=str(tmp_path / "absent"), out=tmp_path / "other"))
    assert not (tmp_path / "other").exists()

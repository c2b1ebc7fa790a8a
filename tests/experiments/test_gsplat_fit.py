"""The question that gsplat's trainer gets, the answer that is read, and what is said when there is none."""

import dataclasses
import os
import pathlib
import time

import numpy as np
import pytest
from gsplat_fit import CurvePoint, FitOptions, GsplatFitError, TrainingSet, normalisation, train

# Knows the form of the question and answers it without training.
STAND_IN = """
import json, pathlib, sys
import numpy as np

folder = pathlib.Path(sys.argv[1])
options = json.loads((folder / "options.json").read_text())
arrays = dict(np.load(folder / "inputs.npz"))
count, height, width, _ = arrays["images"].shape
heldout, novel = arrays["heldout"], len(arrays["novel"])
for name, shape in {"views": (count, 4, 4), "novel": (novel, 4, 4), "matrix": (3, 3), "novel_matrix": (3, 3)}.items():
    assert arrays[name].shape == shape and arrays[name].dtype == np.float32, name
for name in ("points", "colours"):
    assert arrays[name].shape == (len(arrays["points"]), 3) and arrays[name].dtype == np.float32, name
assert arrays["images"].dtype == np.uint8 and options["scene_scale"] > 0
answer = {"psnr": 20.0 + heldout, "ssim": heldout / 10, "images": arrays["images"][heldout]}
answer["novel"] = np.full((novel, height, width, 3), arrays["novel_matrix"][0, 0], np.uint8)
if "masks" in arrays:
    assert arrays["masks"].shape == (len(heldout), height, width)
    answer["psnr_masked"] = arrays["masks"].mean(axis=(1, 2))
print("step 1 of", options["steps"])
np.savez(folder / "outputs.npz", **answer)
curve = [{"seconds": s, "step": i, "splats": 9, "psnr": 20.0} for i, s in enumerate(options["curve_seconds"])]
notes = {"gsplat": "stand-in", "seed": options["seed"]}
reply = {"curve": curve, "steps": options["steps"], "seconds": 1.5, "splats": options["cap_max"], "notes": notes}
(folder / "outputs.json").write_text(json.dumps(reply))
"""


@pytest.fixture
def views() -> TrainingSet:
    """Five cameras along x, looking along it."""
    random = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, :3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    poses[:, 0, 3] = 1e4 + 2.0 * np.arange(5)
    points = np.array([1e4 + 20.0, 0, 0]) + random.uniform(-3, 3, (8, 3))
    images = random.integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)
    intrinsics = np.array([10.0, 11.0, 8.0, 6.0])
    return TrainingSet(images, poses, intrinsics, np.array([0, 2, 4]), np.array([1, 3]), points, np.full((8, 3), 0.5))


def _child(folder: pathlib.Path, program: str) -> pathlib.Path:
    path = folder / "child.py"
    path.write_text(program)
    return path


def test_the_answer_is_what_the_child_wrote(views, tmp_path, capsys):
    child = _child(tmp_path, STAND_IN)
    options = FitOptions(steps=70, cap_max=90, seed=4, curve_seconds=(1.0, 2.0))
    trained = train(views, options, child)
    assert trained.curve == (CurvePoint(1.0, 0, 9, 20.0), CurvePoint(2.0, 1, 9, 20.0))
    np.testing.assert_array_equal(trained.psnr, [21, 23])
    np.testing.assert_array_equal(trained.ssim, [0.1, 0.3])
    np.testing.assert_array_equal(trained.images, views.images[[1, 3]])
    assert trained.novel.shape == (0, 12, 16, 3) and trained.psnr_masked is None
    assert (trained.splats, trained.steps, trained.seconds) == (90, 70, 1.5)
    assert trained.notes == {"gsplat": "stand-in", "seed": 4}
    assert "  gsplat: step 1 of 70\n" in capsys.readouterr().out


def test_masks_and_novel_cameras_travel(views, tmp_path):
    masks = np.zeros((5, 12, 16), bool)
    masks[3, :6] = True
    more = {"masks": masks, "novel": views.world_from_camera[:3], "novel_intrinsics": np.array([7.0, 7, 8, 6])}
    trained = train(dataclasses.replace(views, **more), FitOptions(), _child(tmp_path, STAND_IN))
    np.testing.assert_array_equal(trained.psnr_masked, [0, 0.5])
    np.testing.assert_array_equal(trained.novel, np.full((3, 12, 16, 3), 7))


def test_the_trainers_world_shows_the_same_pixels(views, tmp_path):
    kept = tmp_path / "kept.npz"
    program = f"import shutil, sys\nshutil.copy(sys.argv[1] + '/inputs.npz', {str(kept)!r})\n{STAND_IN}"
    train(views, FitOptions(), _child(tmp_path, program))
    with np.load(kept) as arrays:
        seen = arrays["points"] @ arrays["views"][:, :3, :3].transpose(0, 2, 1) + arrays["views"][:, None, :3, 3]
        pixels = seen @ arrays["matrix"].T
        # The middle camera is the origin, and half of the cameras lie within a unit.
        np.testing.assert_allclose(arrays["views"][2, :3, 3], 0, atol=1e-6)
        np.testing.assert_allclose(np.abs(arrays["views"][:, 2, 3]), [2, 1, 0, 1, 2], atol=1e-6)
    offset = views.points[None] - views.world_from_camera[:, None, :3, 3]
    camera = np.einsum("vji,vpj->vpi", views.world_from_camera[:, :3, :3], offset)
    fx, fy, cx, cy = views.intrinsics
    expected = np.stack([fx * camera[..., 0] / camera[..., 2] + cx, fy * camera[..., 1] / camera[..., 2] + cy], -1)
    np.testing.assert_allclose(pixels[..., :2] / pixels[..., 2:], expected, atol=1e-4)  # float32 of numbers up to 16


def test_normalisation_of_cameras_on_a_line():
    poses = np.tile(np.eye(4), (5, 1, 1))  # looking along z
    poses[:, 0, 3] = [0, 1, 2, 3, 14]
    origin, unit = normalisation(poses)
    np.testing.assert_allclose(origin, [2, 0, 0])  # the median
    assert unit == 1.0  # the median of 2, 1, 0, 1, 12
    poses[:, :3, 3] = 5 * poses[:, :3, 3] + [1e4, -1e4, 3]
    origin, unit = normalisation(poses)
    np.testing.assert_allclose(origin, [1e4 + 10, -1e4, 3])
    np.testing.assert_allclose(unit, 5)
    # Along the line of sight the median does not count: every camera looks past the same point.
    poses[:, :3, 3] = np.outer([0, 1, 2, 3, 14], [0, 0, 1])
    np.testing.assert_allclose(normalisation(poses)[0], [0, 0, 4])
    assert normalisation(poses[:1])[1] == 1.0, "one camera has no extent"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((5, 10, 16, 3), np.uint8)}, r"images: .* of 11 pixels or more a side, received uint8"),
        ({"images": np.zeros((5, 12, 16, 3))}, r"images: expected uint8 .*received float64"),
        ({"world_from_camera": np.zeros((4, 4, 4))}, r"world_from_camera: expected \(5, 4, 4\), received \(4, 4, 4\)"),
        ({"colours": np.full((8, 3), np.nan)}, "colours: expected finite numbers"),
        ({"masks": np.zeros((5, 12, 16))}, "masks: expected bool, received float64"),
        ({"heldout": np.array([], int)}, "heldout: expected indices"),
        ({"training": np.array([0, 5])}, r"training: expected indices of 5 views, received 0\.\.5"),
        ({"heldout": np.array([1, 2])}, r"heldout: views \[2\] are in training too"),
        ({"points": np.zeros((3, 3)), "colours": np.zeros((3, 3))}, "points: expected 4 to 1000000, received 3"),
    ],
)
def test_views_that_do_not_fit_together_are_named(views, change, message):
    with pytest.raises(GsplatFitError, match=message):
        train(dataclasses.replace(views, **change), FitOptions())


def test_more_points_than_splats_are_refused(views):
    with pytest.raises(GsplatFitError, match="points: expected 4 to 5, received 8; draw fewer or raise cap_max"):
        train(views, FitOptions(cap_max=5))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"steps": 0}, "at least 1"), ({"sh_degree": 5}, "0 to 4"), ({"seconds": 0.0}, "positive")],
)
def test_options_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        FitOptions(**change)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import no_such_torch", r"ended with 1; it last said: .*no_such_torch.* needs torch and gsplat 1\.5\.3"),
        ("raise SystemExit(0)", "ended with 0; it last said: nothing"),
        (
            "import pathlib, sys\npathlib.Path(sys.argv[1], 'outputs.json').write_text('{\"error\": \"no memory\"}')",
            "gsplat: no memory",
        ),
    ],
)
def test_a_child_that_fails_is_quoted(views, tmp_path, program, message):
    with pytest.raises(GsplatFitError, match=message):
        train(views, FitOptions(), _child(tmp_path, program))


def test_a_python_that_is_not_there_is_named(views, tmp_path):
    options = FitOptions(python=str(tmp_path / "python"))
    with pytest.raises(GsplatFitError, match="python: cannot be started"):
        train(views, options)


def test_a_child_that_takes_too_long_is_ended_with_all_it_started(views, tmp_path):
    program = """
import pathlib, subprocess, sys
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(__file__).with_name("other").write_text(str(other.pid))
print("compiling")
other.wait()
"""
    child = _child(tmp_path, program)
    began = time.monotonic()
    with pytest.raises(GsplatFitError, match=r"longer than 3 s and was ended; it last said: compiling\. Raise limit"):
        train(views, FitOptions(limit_seconds=3), child)
    assert time.monotonic() - began < 60
    if os.path.isdir("/proc/self"):
        stat = pathlib.Path("/proc", (tmp_path / "other").read_text(), "stat")
        # A busy machine takes its time to carry out a kill.
        while _runs(stat) and time.monotonic() - began < 60:
            time.sleep(0.05)
        assert not _runs(stat), "the compiler lives on"


def _runs(stat: pathlib.Path) -> bool:
    """Whether a process is there and is not merely waiting to be asked how it ended."""
    try:
        return ") Z " not in stat.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

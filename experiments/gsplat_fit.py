"""A scene fitted by gsplat 1.5.3's own recipe, in a process of its own, to compare reconstruction with.

The question is an `.npz` of arrays and a `.json` of options in a temporary folder; the answer likewise.
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any

import numpy as np

CHILD = pathlib.Path(__file__).resolve().with_name("gsplat_trainer.py")
SCENE_MARGIN = 1.1  # gsplat's, on the cameras' extent
LEAST_PIXELS = 11  # a side: the window of structural similarity
LEAST_POINTS = 4  # each takes its size from three neighbours
TOLD = 5  # last lines of a child that failed


class GsplatFitError(RuntimeError):
    """gsplat could not be asked or could not answer; the message says why and what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSet:
    """A drive as gsplat is to see it.

    Attributes:
        images: colours, uint8 [view, height, width, 3].
        world_from_camera: OpenCV cameras, metres [view, 4, 4].
        intrinsics: fx, fy, cx, cy in pixels, whose centres lie at +0.5 [4].
        training: indices of the views that are fitted.
        heldout: indices of the views that are scored.
        points: where the first splats are, world, metres [point, 3].
        colours: of the points, in [0, 1] [point, 3].
        masks: pixels that count in a second score, bool [view, height, width]; training never sees them.
        novel: world from further cameras whose images are wanted [camera, 4, 4].
        novel_intrinsics: theirs, where they differ [4]; the size in pixels is the same.
    """

    images: np.ndarray
    world_from_camera: np.ndarray
    intrinsics: np.ndarray
    training: np.ndarray
    heldout: np.ndarray
    points: np.ndarray
    colours: np.ndarray
    masks: np.ndarray | None = None
    novel: np.ndarray | None = None
    novel_intrinsics: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How to train.

    Attributes:
        steps: all schedules end with the last.
        sh_degree: of colours, at most 4.
        cap_max: most splats.
        seed: of everything random.
        seconds: of training after which it ends early, its schedules unfinished.
        curve_seconds: of training after which held-out views are scored.
        python: which runs the child: the one that has torch and gsplat.
        limit_seconds: after which the child is killed; compiling gsplat takes about 90 of them, once.
        device: of torch.
    """

    steps: int = 30_000
    sh_degree: int = 3
    cap_max: int = 1_000_000
    seed: int = 0
    seconds: float | None = None
    curve_seconds: tuple[float, ...] = (5, 10, 15, 20, 30, 45, 60, 90, 120)
    python: str = sys.executable
    limit_seconds: float = 1800.0
    device: str = "cuda"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.cap_max < 1:
            raise ValueError(f"steps and cap_max: expected at least 1, received {self.steps} and {self.cap_max}")
        if not 0 <= self.sh_degree <= 4:
            raise ValueError(f"sh_degree: expected 0 to 4, received {self.sh_degree}")
        if (
            min(self.limit_seconds, *self.curve_seconds, self.limit_seconds if self.seconds is None else self.seconds)
            <= 0
        ):
            raise ValueError("seconds, curve_seconds and limit_seconds: expected positive numbers")


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """A score during training.

    Attributes:
        seconds: of training until then, without preparation, compilation and scoring.
        step: how many were done.
        splats: how many there were.
        psnr: mean over held-out views of each view's, decibels.
    """

    seconds: float
    step: int
    splats: int
    psnr: float


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """What gsplat answered.

    Attributes:
        curve: scores during training, the last at its end.
        psnr: of each held-out view, unrounded colours, decibels [heldout].
        psnr_masked: of the pixels in its mask, not a number where that is empty [heldout].
        ssim: of each held-out view, over whole windows [heldout].
        images: of held-out views, uint8 [heldout, height, width, 3].
        novel: of further cameras, uint8 [camera, height, width, 3].
        splats: how many there are at the end.
        steps: how many were done.
        seconds: of training.
        notes: versions, device, seconds of preparation, peak memory, and which SSIM was descended.
    """

    curve: tuple[CurvePoint, ...]
    psnr: np.ndarray
    psnr_masked: np.ndarray | None
    ssim: np.ndarray
    images: np.ndarray
    novel: np.ndarray
    splats: int
    steps: int
    seconds: float
    notes: dict[str, Any]


def train(views: TrainingSet, options: FitOptions, child: pathlib.Path = CHILD) -> Trained:
    """Train gsplat on a drive; its memory is free again when this returns.

    Args:
        views: what it sees and what it is scored on.
        options: how.
        child: the program that trains.

    Raises:
        GsplatFitError: the views do not fit together, the child failed, or it took longer than it may.
    """
    _check(views, options)
    arrays, scene_scale = _question(views)
    with tempfile.TemporaryDirectory(prefix="gsplat-fit-") as name:
        folder = pathlib.Path(name)
        np.savez(folder / "inputs.npz", **arrays)
        asked = dataclasses.asdict(options) | {"scene_scale": scene_scale}
        (folder / "options.json").write_text(json.dumps(asked), encoding="utf-8")
        _run([options.python, "-u", str(child), str(folder)], folder, options)
        return _read(folder)


def normalisation(poses: np.ndarray) -> tuple[np.ndarray, float]:
    """The world that gsplat's trainer works in: its regularisation and its noise depend on the unit of length.

    It puts the origin where the cameras look and half of them within one unit (`similarity_from_cameras`), beginning
    from a world that COLMAP centred on the cameras. Its rotation, which turns everything alike, is left out.

    Args:
        poses: world from camera, metres [view, 4, 4].

    Returns:
        The origin, metres [3], and the unit, metres.
    """
    eyes, ahead = poses[:, :3, 3], poses[:, :3, 2]
    middle = eyes.mean(axis=0)
    eyes = eyes - middle
    nearest = eyes - np.sum(ahead * eyes, axis=1, keepdims=True) * ahead
    centre = np.median(nearest, axis=0)
    unit = float(np.median(np.linalg.norm(eyes - centre, axis=1)))
    return middle + centre, unit if unit > 0 else 1.0


def _question(views: TrainingSet) -> tuple[dict[str, Any], float]:
    """What the child gets, in the trainer's world, and the scene's scale there."""
    poses = np.asarray(views.world_from_camera, np.float64)
    origin, unit = normalisation(poses)

    def camera_from_world(world_from_camera: np.ndarray) -> np.ndarray:
        moved = np.array(world_from_camera, np.float64)
        moved[:, :3, 3] = (moved[:, :3, 3] - origin) / unit
        return np.linalg.inv(moved).astype(np.float32)

    novel = np.empty((0, 4, 4)) if views.novel is None else views.novel
    intrinsics = np.asarray(views.intrinsics)
    arrays = {
        "images": views.images,
        "views": camera_from_world(poses),
        "novel": camera_from_world(novel),
        "matrix": _matrix(intrinsics),
        "novel_matrix": _matrix(intrinsics if views.novel_intrinsics is None else np.asarray(views.novel_intrinsics)),
        "training": np.asarray(views.training),
        "heldout": np.asarray(views.heldout),
        "points": ((np.asarray(views.points, np.float64) - origin) / unit).astype(np.float32),
        "colours": np.asarray(views.colours, np.float32),
    }
    if views.masks is not None:
        arrays["masks"] = views.masks[arrays["heldout"]]
    eyes = (poses[:, :3, 3] - origin) / unit
    return arrays, SCENE_MARGIN * float(np.linalg.norm(eyes - eyes.mean(axis=0), axis=1).max())


def _matrix(intrinsics: np.ndarray) -> np.ndarray:
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


def _check(views: TrainingSet, options: FitOptions) -> None:
    """Raise where the views do not fit together."""
    if views.images.ndim != 4 or views.images.dtype != np.uint8 or min(views.images.shape[1:3]) < LEAST_PIXELS:
        expected = f"uint8 [view, height, width, 3] of {LEAST_PIXELS} pixels or more a side"
        raise GsplatFitError(f"images: expected {expected}, received {views.images.dtype} {views.images.shape}")
    count, height, width, _ = views.images.shape
    cameras, points = 0 if views.novel is None else len(views.novel), len(views.points)
    shapes = {
        "images": (count, height, width, 3),
        "world_from_camera": (count, 4, 4),
        "intrinsics": (4,),
        "points": (points, 3),
        "colours": (points, 3),
        "masks": (count, height, width),
        "novel": (cameras, 4, 4),
        "novel_intrinsics": (4,),
    }
    for name, shape in shapes.items():
        leaf = getattr(views, name)
        if leaf is not None and np.shape(leaf) != shape:
            raise GsplatFitError(f"{name}: expected {shape}, received {np.shape(leaf)}")
        if leaf is not None and not np.isfinite(leaf).all():
            raise GsplatFitError(f"{name}: expected finite numbers, received nan or infinity")
    if views.masks is not None and views.masks.dtype != bool:
        raise GsplatFitError(f"masks: expected bool, received {views.masks.dtype}")
    for name in ("training", "heldout"):
        indices = np.asarray(getattr(views, name))
        if indices.ndim != 1 or not len(indices) or indices.dtype.kind not in "iu":
            raise GsplatFitError(f"{name}: expected indices [n] of at least one view, received {indices!r}")
        if indices.min() < 0 or indices.max() >= count:
            raise GsplatFitError(
                f"{name}: expected indices of {count} views, received {indices.min()}..{indices.max()}"
            )
    both = np.intersect1d(views.training, views.heldout)
    if len(both):
        raise GsplatFitError(f"heldout: views {both.tolist()} are in training too; a score on them would say nothing")
    if not LEAST_POINTS <= points <= options.cap_max:
        raise GsplatFitError(
            f"points: expected {LEAST_POINTS} to {options.cap_max}, received {points}; draw fewer or raise cap_max"
        )


def _run(command: list[str], folder: pathlib.Path, options: FitOptions) -> None:
    """Run the child to its end or to its limit, showing what it prints."""
    last: collections.deque[str] = collections.deque(maxlen=TOLD)
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise GsplatFitError(f"{options.python}: cannot be started ({error}); pass the Python with gsplat") from error
    late = threading.Event()

    def kill() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # compilers that it started included

    timer = threading.Timer(options.limit_seconds, kill)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.rstrip())
            print(f"  gsplat: {last[-1]}", flush=True)
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            kill()
            process.wait()
    told = " | ".join(last) or "nothing"
    if late.is_set():
        message = f"gsplat took longer than {options.limit_seconds:g} s and was ended; it last said: {told}"
        raise GsplatFitError(f"{message}. Raise limit_seconds or ask for fewer steps.")
    if code != 0 or not (folder / "outputs.json").exists():
        message = f"the gsplat process ended with {code}; it last said: {told}"
        raise GsplatFitError(f"{message}. {options.python} needs torch and gsplat 1.5.3.")


def _read(folder: pathlib.Path) -> Trained:
    reply = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
    if "error" in reply:
        raise GsplatFitError(f"gsplat: {reply['error']}")
    with np.load(folder / "outputs.npz") as stored:
        arrays = dict(stored)
    reply["curve"] = tuple(CurvePoint(**point) for point in reply["curve"])
    return Trained(**{"psnr_masked": None} | arrays | reply)

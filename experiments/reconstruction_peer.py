"""gsplat given the same drive, the same LiDAR, room for as many splats, and as much time, to compare with."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from gsplat_fit import CHILD, FitOptions, Trained, TrainingSet, train
from image_quality import quality
from jaxtyping import Bool
from lateral_truth import LateralTruth, lateral_quality

from jaxrecon.logs import CameraStream, DrivingLog
from jaxrecon.metrics.lpips import LpipsWeights
from jaxrecon.reconstruct import FitConfig, FitResult, Views
from jaxrecon.reconstruct.points import accumulate, path_spacing, thin_to
from jaxrecon.reconstruct.views import box_mask

PROBE_STEPS = 3000  # of a first training that tells how many steps the time has room for
GIVEN = (
    "the recorded poses, the same training frames, its first splats on the same LiDAR points outside boxes (as many as "
    "the first scene here may hold), room for as many splats, and as many steps as take the seconds of the fit here, "
    "its schedules ending with the last; its seconds are of training alone, those here count reading, LiDAR and the "
    "first scene too"
)


@dataclasses.dataclass(frozen=True)
class PeerFit:
    """What gsplat reached.

    Attributes:
        name: and version.
        heldout: quality of held-out views.
        lateral: quality beside the path, by the name of the truth.
        curve: [seconds, PSNR] on the way.
        notes: what it was given and what it took.
    """

    name: str
    heldout: dict[str, float | None]
    lateral: dict[str, dict[str, Any]]
    curve: list[list[float]]
    notes: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class GsplatTrainer:
    """Trains gsplat in a child process.

    Attributes:
        child: the program that trains.
        python: which runs it.
        probe_steps: of the first training.
    """

    child: pathlib.Path = CHILD
    python: str = sys.executable
    probe_steps: int = PROBE_STEPS

    def fit(
        self,
        log: DrivingLog,
        camera: CameraStream,
        result: FitResult,
        config: FitConfig,
        truths: Sequence[LateralTruth],
        weights: LpipsWeights | None,
    ) -> PeerFit:
        """What gsplat makes of a log in the time that a fit of it took.

        Args:
            log: the recording.
            camera: the one camera that was fitted.
            result: of the fit.
            config: of the fit.
            truths: beside the path.
            weights: of LPIPS.

        Raises:
            GsplatFitError: if it could not be asked or could not answer.
        """
        views = training_set(log, camera, result.views, config, truths)
        options = FitOptions(
            steps=self.probe_steps,
            sh_degree=config.initial.sh_degree,
            cap_max=config.initial.capacity,
            curve_seconds=config.curve,
            python=self.python,
        )
        probe = train(views, dataclasses.replace(options, curve_seconds=()), self.child)
        steps = max(1, round(self.probe_steps * result.report.seconds / probe.seconds))
        trained = train(views, dataclasses.replace(options, steps=steps), self.child)
        return _read(trained, views, truths, weights)


def training_set(
    log: DrivingLog, camera: CameraStream, views: Views, config: FitConfig, truths: Sequence[LateralTruth]
) -> TrainingSet:
    """A log as gsplat is to see it.

    Args:
        log: the recording.
        camera: the one camera that was fitted.
        views: what was fitted; their poses are taken back to the recorded ones.
        config: of the fit.
        truths: whose cameras are to be drawn too; all of one lens.
    """
    poses = log.world_from_camera(camera)
    recorded = dataclasses.replace(views, world_from_camera=poses.astype(np.float32))
    points, _ = accumulate(log, recorded)
    used = int(config.initial.capacity * config.initial.filled)
    points = thin_to(points, used, path_spacing(points, poses[:, :3, 3]))
    return TrainingSet(
        images=np.asarray(views.images),
        world_from_camera=poses,
        intrinsics=np.asarray(views.intrinsics[0]),
        training=np.flatnonzero(~views.heldout),
        heldout=np.flatnonzero(views.heldout),
        points=points.positions,
        colours=points.colours,
        masks=static_pixels(log, recorded),
        novel=np.concatenate([truth.world_from_camera for truth in truths]) if truths else None,
        novel_intrinsics=truths[0].intrinsics if truths else None,
    )


def static_pixels(log: DrivingLog, views: Views) -> Bool[np.ndarray, "view height width"]:
    """Pixels of each view outside the rectangles of all boxes."""
    cameras = zip(views.frame, np.asarray(views.world_from_camera), np.asarray(views.intrinsics), strict=True)
    return np.stack(
        [
            ~box_mask(log, int(frame), pose.astype(np.float64), pinhole.astype(np.float64), views.size)
            for frame, pose, pinhole in cameras
        ]
    )


def _read(
    trained: Trained, views: TrainingSet, truths: Sequence[LateralTruth], weights: LpipsWeights | None
) -> PeerFit:
    assert views.masks is not None
    true, static = views.images[views.heldout], views.masks[views.heldout]
    heldout = quality(trained.images, true, static, weights)
    lateral, first = {}, 0
    for truth in truths:
        images = trained.novel[first : first + len(truth.frame)]
        lateral[truth.name] = lateral_quality(images, truth, weights)
        first += len(truth.frame)
    return PeerFit(
        name=f"gsplat {trained.notes.get('gsplat', '')}".strip(),
        heldout=heldout,
        lateral=lateral,
        curve=[[point.seconds, point.psnr] for point in trained.curve],
        notes={
            "given": GIVEN,
            "seconds": trained.seconds,
            "steps": trained.steps,
            "splats": trained.splats,
            "first_splats": len(views.points),
            **trained.notes,
        },
    )

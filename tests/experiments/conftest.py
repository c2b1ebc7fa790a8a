"""A drive that takes seconds to record and of which everything is known: a procedural street, seen by two cameras."""

import dataclasses
import pathlib

import numpy as np
import pytest
from reconstruct_presets import TINY_STREET

from jaxrecon import street
from jaxrecon.logs import CameraStream, DrivingLog

ASIDE = 0.53  # metres to the right, as KITTI's second colour camera


@pytest.fixture(scope="session")
def world() -> street.Street:
    """The street."""
    return street.generate(TINY_STREET, 0)


@pytest.fixture(scope="session")
def stereo(world) -> DrivingLog:
    """Its recording, with a second camera beside the first."""
    log = street.record(world, progress=False)
    first = dataclasses.replace(log.cameras[0], name="image_02")
    mount = first.ego_from_camera.copy()
    mount[1, 3] -= ASIDE
    poses = log.world_from_ego @ mount
    pinhole = first.intrinsics[None]
    drawn = [street.ground_truth(world, i, pose[None], pinhole, *first.size).rgb[0] for i, pose in enumerate(poses)]
    images = np.stack([np.round(255 * np.asarray(rgb)).astype(np.uint8) for rgb in drawn])
    return dataclasses.replace(log, cameras=(first, CameraStream("image_03", first.intrinsics, mount, images)))


@pytest.fixture
def stand_in_trainer() -> pathlib.Path:
    """A program that answers for gsplat's trainer without training."""
    return pathlib.Path(__file__).with_name("stand_ins") / "gsplat_trainer.py"

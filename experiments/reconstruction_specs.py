"""Which drives the reconstruction suite rebuilds, and how, at full scale and at one that only shows that it runs."""

import dataclasses
import os
import pathlib

from reconstruct_presets import CPU_FIT, GPU_FIT, GPU_STREET, TINY_FIT, TINY_STREET, Preset

from jaxrecon.reconstruct import FitConfig
from jaxrecon.street import StreetConfig

KITTI_0013, KITTI_0005 = "kitti-raw-drive_0013", "kitti-raw-drive_0005-400px"
CAMERA = "image_02"  # the one that is learned from
DATA = "JAXRECON_DATA"  # the variable that names the folder of recordings
LAST_CALL = 1.0  # seconds that the last compiled call of a fit may take beyond its budget
BESIDE = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclasses.dataclass(frozen=True)
class ReconstructionScale:
    """How much of everything.

    Attributes:
        name: of the scale; it stands in each row that is not of the full one.
        kitti0013: how that drive is fitted.
        kitti0005: likewise.
        street: the procedural streets and how they are fitted.
        seeds: of the streets.
        cpu_street: the demo's street, and how a CPU fits it.
        anywhere: whether rows are measured on whatever device there is.
        probe_steps: of the peer's first training, which finds how many steps the time has room for.
    """

    name: str
    kitti0013: Preset
    kitti0005: Preset
    street: Preset
    seeds: tuple[int, ...]
    cpu_street: Preset
    anywhere: bool = False
    probe_steps: int = 3000


def _within(config: FitConfig, seconds: float) -> FitConfig:
    """The same in that many seconds, its last call included."""
    curve = tuple(mark for mark in config.curve if mark < seconds)
    return dataclasses.replace(config, seconds=seconds - LAST_CALL, curve=curve)


def _gpu(seconds: float) -> Preset:
    return Preset(GPU_STREET, _within(GPU_FIT, seconds), pixels_per_splat=50)


TINY = Preset(TINY_STREET, TINY_FIT)
SCALES = {
    "full": ReconstructionScale(
        "full", _gpu(60), _gpu(60), _gpu(30), (0, 1), Preset(StreetConfig(), dataclasses.replace(CPU_FIT, width=None))
    ),
    "tiny": ReconstructionScale("tiny", TINY, TINY, TINY, (0,), TINY, anywhere=True, probe_steps=3),
}


def data_folder() -> pathlib.Path:
    """Where recordings lie: as JAXRECON_DATA says, else beside the checkout."""
    return pathlib.Path(os.environ.get(DATA, BESIDE))

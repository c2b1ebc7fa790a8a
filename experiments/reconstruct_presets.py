"""How much of everything a reconstruction takes, by machine."""

import dataclasses

from jaxrecon.logs import DrivingLog
from jaxrecon.reconstruct import CertificateConfig, FitConfig, InitialiseConfig, LearningRates, LossWeights
from jaxrecon.reconstruct.views import HELDOUT_PERIOD
from jaxrecon.render import RasterConfig, RenderConfig
from jaxrecon.street import CameraConfig, LidarConfig, StreetConfig

LEAST_SPLATS, MOST_SPLATS = 10_000, 1_000_000
PAIRS_PER_SPLAT = 6  # room for (splat, tile) pairs of a view; it grows where that is too little


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a machine can do in about a minute and a half.

    Attributes:
        street: a procedural street and its recording.
        fit: how a recording is fitted.
        pixels_per_splat: pixels of training images for each slot of the scene; 0: as many slots as ``fit`` says.
        certificate: where the scene's novel views are looked at.
    """

    street: StreetConfig
    fit: FitConfig
    pixels_per_splat: int = 0
    certificate: CertificateConfig = dataclasses.field(default_factory=CertificateConfig)


GPU_FIT = FitConfig(
    steps=1_000_000,
    seconds=60.0,
    initial=InitialiseConfig(capacity=MOST_SPLATS, filled=0.7, sh_degree=1, sky_rows=64, sky_columns=128),
    rates=LearningRates(
        means=1e-2, means_final=2e-4, rig_rotation=3e-5, rig_shift=3e-4, actor_yaw=2e-4, actor_shift=1e-3
    ),
    weights=LossWeights(absolute=0.6, squared=4.0, similarity=0.4, opacity=0.1, size=0.01),
    density="relocate",
    exposure=True,
    poses=True,
    actors=True,
    lidar_points=8192,
    steps_per_call=100,
    curve=(5.0, 10.0, 15.0, 20.0, 30.0, 45.0),
    render=RenderConfig(sky_stride=4, raster=RasterConfig(pairs_per_camera=PAIRS_PER_SPLAT * MOST_SPLATS)),
)
CPU_FIT = FitConfig(
    steps=1600,
    seconds=85.0,
    width=400,
    initial=InitialiseConfig(capacity=5_000, filled=0.7),
    density="relocate",
    exposure=True,
    poses=True,
    actors=True,
    coarse=0.3,
)
TINY_FIT = FitConfig(
    steps=10,
    width=64,
    initial=InitialiseConfig(capacity=600),
    exposure=True,
    poses=True,
    actors=True,
    steps_per_call=5,
    lidar_points=256,
    curve=(1e-3,),
    render=RenderConfig(raster=RasterConfig(pairs_per_camera=12_288)),
)
GPU_STREET = StreetConfig(cameras=(CameraConfig(width=480, height=320),), lidar=LidarConfig(columns=480))
TINY_STREET = StreetConfig(
    seconds=1.2,
    moving=2,
    parked=4,
    pedestrians=1,
    cameras=(CameraConfig(width=64, height=40),),
    lidar=LidarConfig(beams=16, columns=60),
    supersampling=1,
)
PRESETS = {
    "tiny": Preset(TINY_STREET, TINY_FIT, certificate=CertificateConfig((-3.0, 0.0, 3.0), (0.0,), 2, 64)),
    "cpu": Preset(StreetConfig(), CPU_FIT),
    "gpu": Preset(GPU_STREET, GPU_FIT, pixels_per_splat=50),
}


def fit_config(preset: Preset, log: DrivingLog, cameras: int, recorded: bool) -> FitConfig:
    """How a log is fitted.

    Args:
        preset: of the machine.
        log: what will be fitted.
        cameras: how many of its cameras are.
        recorded: by a real car. A procedural street's camera does not adapt and its poses are exact, so neither
            exposure nor poses are fitted then.
    """
    config = preset.fit
    if not recorded:
        config = dataclasses.replace(config, exposure=False, poses=False, actors=False)
    if not preset.pixels_per_splat:
        return config
    width, height = log.cameras[0].size
    shrunk = min(1.0, (config.width or width) / width)
    pixels = cameras * log.frames * (HELDOUT_PERIOD - 1) / HELDOUT_PERIOD * width * height * shrunk**2
    splats = int(min(max(pixels / preset.pixels_per_splat, LEAST_SPLATS), MOST_SPLATS))
    raster = dataclasses.replace(config.render.raster, pairs_per_camera=PAIRS_PER_SPLAT * splats)
    return dataclasses.replace(
        config,
        initial=dataclasses.replace(config.initial, capacity=splats),
        render=dataclasses.replace(config.render, raster=raster),
    )

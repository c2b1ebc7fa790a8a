"""Record procedural streets and fit each to its recording: the splat worlds of the scoreboard and of training.

    python experiments/fit_streets.py --out outputs/streets
    python experiments/fit_streets.py --out outputs/streets --scale tiny --train 0 --test 2

Each street becomes a folder `street-SEED`: its scene, its obstacles and ground, and how well held-out frames are
redrawn; its drive and its traffic follow from the seed. `sheets` holds held-out frames to look at. Streets that are
done are not done again: the same command goes on where it was stopped, and a larger --train or --test adds to what is
there.
"""

import dataclasses
import pathlib
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import jax
import numpy as np
import tyro
from fitted_streets import FIRST, MOST, save_street
from runs import Run, RunError
from showing import shown_labels, shown_views
from tqdm import tqdm

from jaxrecon import reconstruct, street, viz
from jaxrecon.logs import DrivingLog, LogError
from jaxrecon.reconstruct import FitConfig, InitialiseConfig, LearningRates, LossWeights
from jaxrecon.render import RasterConfig, RenderConfig
from jaxrecon.simulator.street_cameras import pad_street
from jaxrecon.storage import StorageError
from jaxrecon.street import CameraConfig, LidarConfig, StreetConfig

ROOM = (384, 256, 448)  # boxes, quadrics and crowns of a street, for all to compile once
FULL_SPLATS = 20_000  # 152 streets of as many fit into 60 MB, and a policy's small images show no more
SHEET_WIDTH = 240  # pixels of each image on a street's sheet


@dataclasses.dataclass(frozen=True)
class StreetScale:
    """How much of everything.

    Attributes:
        street: what is recorded, and how.
        fit: how the recording is fitted. Streets of one scale share their shapes, so that a fit compiles once for
            each number of road users: merges have fewer.
        train: streets to train in, by default.
        test: streets to test in, by default.
    """

    street: StreetConfig
    fit: FitConfig
    train: int
    test: int


def _fit(steps: int, splats: int, lidar: int, seconds: float | None = None, pairs: int = 12) -> FitConfig:
    """A fit at fixed shapes; a street's camera does not adapt and its poses are exact, so neither is fitted."""
    return FitConfig(
        steps=steps,
        seconds=seconds,
        initial=InitialiseConfig(capacity=splats, filled=0.7),
        rates=LearningRates(means=1e-2, means_final=2e-4),
        weights=LossWeights(absolute=0.6, squared=4.0, similarity=0.4, opacity=0.1, size=0.01),
        density="relocate",
        lidar_points=lidar,
        render=RenderConfig(raster=RasterConfig(pairs_per_camera=pairs * splats)),
    )


TINY_STREET = StreetConfig(
    seconds=10.0,
    cameras=(CameraConfig(width=64, height=40),),
    lidar=LidarConfig(beams=24, columns=60),
    supersampling=1,
)
SCALES = {
    "tiny": StreetScale(TINY_STREET, _fit(150, 1_200, 256, pairs=24), 0, 2),
    "cpu": StreetScale(StreetConfig(), dataclasses.replace(_fit(1600, 5_000, 2048), coarse=0.3), 4, 8),
    "full": StreetScale(
        StreetConfig(cameras=(CameraConfig(width=288, height=192),), lidar=LidarConfig(columns=240)),
        dataclasses.replace(_fit(4000, FULL_SPLATS, 4096), steps_per_call=100),
        88,
        64,
    ),
}


@dataclasses.dataclass(frozen=True)
class FitStreets:
    """Make the streets of the scoreboard.

    Attributes:
        out: folder of the streets.
        scale: how much of everything; `auto` takes `full` where JAX finds an accelerator, else `cpu`.
        train: how many streets to train in; the scale says by default.
        test: how many streets to test in; the scale says by default.
        seed: of the fits' random choices.
        share: which share of the streets to make, counted from 0, and into how many they are divided, for processes
            that make them side by side.
    """

    out: pathlib.Path = pathlib.Path("outputs/streets")
    scale: Literal["auto", "tiny", "cpu", "full"] = "auto"
    train: int | None = None
    test: int | None = None
    seed: int = 0
    share: tuple[int, int] = (0, 1)

    @property
    def chosen(self) -> StreetScale:
        """The scale with what the flags change.

        Raises:
            RunError: a count is negative, or nothing is asked for.
        """
        automatic = "cpu" if jax.default_backend() == "cpu" else "full"
        scale = SCALES[automatic if self.scale == "auto" else self.scale]
        counts = {name: getattr(scale, name) if getattr(self, name) is None else getattr(self, name) for name in FIRST}
        if min(counts.values()) < 0 or not any(counts.values()) or max(counts.values()) > MOST:
            raise RunError(f"--train {counts['train']} --test {counts['test']}: expected 0 to {MOST} each, not both 0")
        return dataclasses.replace(scale, **counts)

    @property
    def seeds(self) -> list[int]:
        """Of the share's streets, those to test in first.

        Raises:
            RunError: there is no such share.
        """
        number, shares = self.share
        if not 0 <= number < shares:
            raise RunError(f"--share {number} {shares}: expected a number from 0 and into how many streets are divided")
        scale = self.chosen
        seeds = [FIRST[name] + i for name in ("test", "train") for i in range(getattr(scale, name))]
        return seeds[number::shares]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides every street."""
        scale = self.chosen
        return {"street": dataclasses.asdict(scale.street), "fit": dataclasses.asdict(scale.fit), "seed": self.seed}


def main(config: FitStreets) -> dict[str, Any]:
    """Make the streets that are not there yet; returns their mean quality and what each took.

    Raises:
        RunError: the share holds no street, or the folder is of other streets.
    """
    if not config.seeds:
        raise RunError("--share {} {}: it holds no street; divide into fewer".format(*config.share))
    scale, run = config.chosen, Run(config.out, config.identity)
    figures = []
    missing = [seed for seed in config.seeds if not (config.out / f"street-{seed}").exists()]
    with Recorder(scale.street, missing) as recorder, tqdm(config.seeds, desc="streets", unit="street") as bar:
        for seed in bar:
            name = f"street-{seed}"
            sheet = config.out / "sheets" / f"{name}.png"
            stage = run.stage(
                name,
                lambda folder, seed=seed, sheet=sheet: make_street(
                    recorder, scale.fit, (seed, config.seed), folder, sheet
                ),
            )
            figures.append({**stage.figures, "seconds_total": stage.seconds, "found": stage.resumed})
            bar.set_postfix(psnr=f"{np.mean([one['heldout_psnr'] for one in figures]):.2f} dB")
    quality = {name: float(np.mean([one[name] for one in figures])) for name in ("heldout_psnr", "heldout_ssim")}
    made = [one for one in figures if not one["found"]]
    size = sum(one["bytes"] for one in figures) / 1e6
    print(
        f"{len(figures)} streets in {config.out}, {len(made)} of them new, {size:.1f} MB: held-out PSNR "
        f"{quality['heldout_psnr']:.2f} dB, SSIM {quality['heldout_ssim']:.3f}"
    )
    return {**quality, "streets": len(figures), "made": len(made), "megabytes": size, "by_street": figures}


class Recorder:
    """Records streets, each while the one before it is fitted.

    Args:
        config: of the streets.
        seeds: in the order in which they will be asked for.
    """

    def __init__(self, config: StreetConfig, seeds: list[int]):
        self._config, self._coming = config, list(seeds)
        self._pool = ThreadPoolExecutor(1)
        self._begun: dict[int, Future[DrivingLog]] = {}

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, seed: int) -> DrivingLog:
        """The recording of a street; the next one's begins."""
        self._coming = [other for other in self._coming if other != seed]
        for one in (seed, *self._coming[:1]):
            if one not in self._begun:
                self._begun[one] = self._pool.submit(self._record, one)
        return self._begun.pop(seed).result()

    def _record(self, seed: int) -> DrivingLog:
        return street.record(roomy(street.generate(self._config, seed)), progress=False)


def make_street(
    recorder: Recorder, fit: FitConfig, seeds: tuple[int, int], folder: pathlib.Path, sheet: pathlib.Path
) -> dict[str, Any]:
    """Record a street, fit it to that one pass, and write scene and maps into the folder, and a sheet to look at.

    Args:
        recorder: of the streets.
        fit: how it is fitted.
        seeds: the street's, and of the fits' random choices.
        folder: of the street.
        sheet: PNG to write.

    Raises:
        KeyboardInterrupt: the fit was interrupted; nothing of the street is kept.
    """
    seed, fit_seed = seeds
    begin = time.perf_counter()
    log = recorder.take(seed)
    recorded = time.perf_counter()
    result = reconstruct.fit(log, fit, jax.random.fold_in(jax.random.key(fit_seed), seed), progress=False)
    if result.report.interrupted:
        raise KeyboardInterrupt
    report = dataclasses.asdict(result.report)
    found = save_street(log, result.scene, {"log": log.name, "seed": seed, **report}, folder)
    assert result.heldout is not None
    shown, views = shown_views(result.heldout), result.heldout
    images = (views.recorded[shown], views.rendered[shown])
    sheet.parent.mkdir(exist_ok=True)
    viz.write_image(viz.reconstruction_sheet(*images, shown_labels(views), SHEET_WIDTH), sheet)
    kept = ("gaussians", "heldout_psnr", "heldout_psnr_static", "heldout_ssim")
    return {
        "seed": seed,
        "name": log.name,
        "scene_hash": found,
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "waited_seconds": recorded - begin,
        "fit_seconds": result.report.seconds,
        "compile_seconds": result.report.seconds_compile,
        **{name: report[name] for name in kept},
    }


def roomy(chosen: street.Street) -> street.Street:
    """The street with slots for as many solids as any has, so that all are recorded by one program."""
    return dataclasses.replace(chosen, world=pad_street(chosen.world, ROOM, len(chosen.actors)))


if __name__ == "__main__":
    try:
        main(tyro.cli(FitStreets, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with the street that was interrupted", file=sys.stderr)
        sys.exit(130)
    except (RunError, LogError, StorageError, reconstruct.ReconstructionError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

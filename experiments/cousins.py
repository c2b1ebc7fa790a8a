"""Make drives that were never driven: cousins of a recorded one, checked, drawn, and stored for imitation.

    python experiments/cousins.py --log street:3 --out outputs/cousins
    python experiments/cousins.py --log data/womd-scenarios/v1/scenario.json.gz --out outputs/cousins-waymo
    python experiments/cousins.py --log data/kitti --rebuilt outputs/drive --out outputs/cousins-kitti

Writes, for each log, a folder with `cousin-<log>`, the data set (read it with `jaxrecon.trajectories.read_cousins`);
`report.html` and `report.json`; `paths.png`, the ways from above, accepted and rejected; `strip.png`, what cameras
show; `histograms.png`. The same command goes on where it was stopped.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np
import tyro
from benchmark_rows import BenchmarkError, read_rows, write_rows
from cousins_drawing import draw_histograms, from_above, strip
from cousins_report import figures_of, motions_of, recorded_motions, recorded_unsupported, write_page
from cousins_suite import ROW, entropy_row
from cousins_worlds import CousinWorld, open_world, with_room_for
from runs import Run, RunError, Stage, write_text

from jaxrecon import viz
from jaxrecon.logs import LogError
from jaxrecon.scene import occupancy
from jaxrecon.storage import StorageError
from jaxrecon.trajectories import (
    FAMILIES,
    NAMES,
    CousinConfig,
    CousinError,
    Generated,
    Source,
    confidence_of,
    generate,
    read_cousins,
    show,
    write_cousins,
)
from jaxrecon.trajectories.data_set import cousin_arrays, cousins_from


@dataclasses.dataclass(frozen=True)
class MakeCousins:
    """Make cousins of recorded drives.

    Attributes:
        log: each is `street` or `street:SEED`, a Waymo scenario, or the folder of a recording with images.
        out: folder of the results; of several logs each gets its own in it.
        rebuilt: what `reconstruct.py` wrote for a recording with images.
        streets: what `fit_streets.py` wrote, to take streets from.
        families: of manoeuvres; all by default.
        per_family: accepted cousins of each family.
        rounds: of drawing candidates, at most.
        seconds: of a cousin.
        stride: steps between two rows of the data set; 1 for policies that remember.
        width: of the policy's images, pixels.
        height: of the policy's images, pixels.
        splats: most of a scene that is assembled.
        seed: of every random choice.
        json: file of benchmark rows to put the entropy gain into; other rows stay.
    """

    log: tuple[str, ...] = ("street",)
    out: pathlib.Path = pathlib.Path("outputs/cousins")
    rebuilt: pathlib.Path | None = None
    streets: pathlib.Path | None = None
    families: tuple[str, ...] = NAMES
    per_family: int = 8
    rounds: int = 6
    seconds: float = 6.0
    stride: int = 2
    width: int = 96
    height: int = 64
    splats: int = 120_000
    seed: int = 0
    json: pathlib.Path | None = None


def main(config: MakeCousins) -> dict[str, dict[str, Any]]:
    """Make all of them; returns what the reports hold, by log."""
    if config.rebuilt is not None and len(config.log) > 1:
        raise RunError("--rebuilt is of one recording; name one --log")
    reports = {}
    for number, source in enumerate(config.log):
        folder = config.out if len(config.log) == 1 else config.out / f"{number:02d}"
        reports[source] = make(config, source, folder)
    if config.json is not None:
        _put_row(config.json, reports)
    return reports


def make(config: MakeCousins, source: str, folder: pathlib.Path) -> dict[str, Any]:
    """Cousins of one log."""
    unknown = [name for name in config.families if name not in FAMILIES]
    if unknown:
        raise RunError(f"--families {unknown[0]}: expected some of {', '.join(FAMILIES)}")
    chosen = CousinConfig(
        seconds=config.seconds,
        per_family=config.per_family,
        rounds=config.rounds,
        families=tuple((name, FAMILIES[name]) for name in config.families),
    )
    size = (config.width, config.height)
    world = open_world(source, size, config.splats, config.rebuilt, config.streets)
    identity = {
        "log": world.log.name, "scene": world.content, "cousins": dataclasses.asdict(chosen), "stride": config.stride,
        "size": size, "splats": config.splats, "seed": config.seed, "drawn": world.drawn,
    }  # fmt: skip
    run = Run(folder, identity)
    stage = run.stage("generation", lambda place: _generate(world, chosen, config.seed, place))
    made = _generated(stage)
    simulator = with_room_for(world.simulator, made.cousins)
    described = Source(world.log.name, world.content, {name: identity[name] for name in identity if name != "scene"})
    data_folder = folder / described.name
    content = write_cousins(
        data_folder,
        described,
        made.cousins,
        lambda index: show(simulator, made.cousins, index, world.log.ego, made.path, config.stride),
    )
    data = read_cousins(data_folder, world.content)
    viz.write_image(
        from_above(world.log, _obstacles(world), made.cousins, made.rejected), folder / "paths.png"
    )  # fmt: skip
    viz.write_image(strip(data, world.simulator.world.dt), folder / "strip.png")
    recorded, driven = recorded_motions(world, made.path), motions_of(world, made)
    report = figures_of(made, recorded, driven)
    report["unsupported"] = recorded_unsupported(simulator.world)
    report |= {
        "log": world.log.name, "kind": world.kind, "scene": world.content, "content": content,
        "rows": len(data.started), "device": jax.devices()[0].device_kind,
    }  # fmt: skip
    draw_histograms(report["histograms"]["log"], report["histograms"]["cousins"], folder / "histograms.png")
    write_text(folder / "report.json", json.dumps(_plain(report), indent=1, allow_nan=False) + "\n")
    write_page(report, folder)
    print(
        f"{world.log.name}: {made.cousins.count} cousins, {report['rows']} rows; entropy gain "
        f"{report['gain']['value']:.2f} [{report['gain']['low']:.2f}, {report['gain']['high']:.2f}]; "
        f"{folder / 'report.html'}"
    )
    return report


def _generate(world: CousinWorld, config: CousinConfig, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    place = world.simulator.world
    made = generate(world.log, place, jax.random.key(seed), config, confidence_of(place))
    for name, some in (("accepted", made.cousins), ("rejected", made.rejected)):
        np.savez(folder / f"{name}.npz", **cousin_arrays(some))
    np.save(folder / "path.npy", made.path)
    return {
        "cousins": made.cousins.count, "drawn": made.drawn, "passed": made.passed, "failed": made.failed,
        "known": made.known,
    }  # fmt: skip


def _generated(stage: Stage) -> Generated:
    def read(name: str) -> Any:
        with np.load(stage.folder / f"{name}.npz", allow_pickle=False) as archive:
            return cousins_from(dict(archive))

    figures = stage.figures
    counts = (figures[name] for name in ("drawn", "passed", "failed"))
    return Generated(read("accepted"), read("rejected"), *counts, np.load(stage.folder / "path.npy"), figures["known"])


def _obstacles(world: CousinWorld) -> occupancy.DistanceField:
    """The world's only distance field as a picture takes it."""
    fields = world.simulator.world.obstacles
    rows, columns = np.asarray(fields.layout.shape[0]).tolist()
    return occupancy.DistanceField(
        fields.distance[: rows * columns].reshape(rows, columns), fields.layout.origin[0], fields.layout.cell[0]
    )


def _put_row(path: pathlib.Path, reports: dict[str, dict[str, Any]]) -> None:
    """The row of these logs in a file; the file's other rows stay."""
    row = entropy_row(list(reports.values()))
    others = [one for one in read_rows(path) if one["name"] != ROW] if path.exists() else []
    write_rows(path, [*others, row])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


if __name__ == "__main__":
    try:
        main(tyro.cli(MakeCousins, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
    except (RunError, LogError, StorageError, CousinError, BenchmarkError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

"""Pictures of cousins: their ways from above, what their cameras show, and how their motion is spread."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from filming import NO_EVENTS, ground_of
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from jaxrecon import viz
from jaxrecon.logs import DrivingLog
from jaxrecon.scene.occupancy import DistanceField
from jaxrecon.trajectories import CHECKS, NAMES, CousinData, Cousins
from jaxrecon.trajectories.diversity import QUANTITIES
from jaxrecon.viz.atomic import replacing
from jaxrecon.viz.palette import INK, PAPER, load_font

# Okabe and Ito's eight, and three more that stay apart from them in lightness.
COLOURS = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233), (120, 94, 40),
    (240, 228, 66), (110, 40, 160), (60, 60, 60), (150, 200, 80),
)  # fmt: skip
LONGEST, LEGEND, MARGIN = 1000, 210, 10.0  # pixels of a panel's longer side, pixels, metres
SHORTEST = 0.3  # of the longer side
FINER = 2  # times the pixels that are drawn before they are averaged
SHOWN_MOMENTS, TILE = 6, 176  # of each cousin in the strip, and their width, pixels


def from_above(
    log: DrivingLog, obstacles: DistanceField, accepted: Cousins, rejected: Cousins
) -> UInt8[np.ndarray, "height width 3"]:
    """Two panels: accepted ways coloured by family, rejected ones by the first check that they failed."""
    reasons = np.argmin(np.asarray(rejected.checks), axis=1)
    about, view = _view(log, np.asarray(accepted.vehicle.position).reshape(-1, 2))
    moment = viz.Moment(ego=about, actors=_parked(log), trail=np.zeros((0, 2)), events=NO_EVENTS)
    ground = viz.draw_birds_eye(view, ground_of(log, obstacles), moment)
    panels = [
        _panel(ground, view, about, accepted, np.asarray(accepted.family), NAMES, "accepted, by family"),
        _panel(ground, view, about, rejected, reasons, CHECKS, "of those rejected, by the first check failed"),
    ]
    return np.concatenate(panels, axis=0 if view.width > view.height else 1)


def _view(log: DrivingLog, ends: np.ndarray) -> tuple[np.ndarray, viz.BirdsEyeConfig]:
    """What is shown: the drive and these places."""
    path = log.world_from_ego[:, :2, 3]
    low = np.minimum(ends.min(axis=0), path.min(axis=0)) - MARGIN
    high = np.maximum(ends.max(axis=0), path.max(axis=0)) + MARGIN
    span = np.maximum(high - low, SHORTEST * (high - low).max())
    width, height = np.round(LONGEST * span / span.max()).astype(int).tolist()
    about = np.array([*(0.5 * (low + high)), 0.0, 0.01, 0.01])
    return about, viz.BirdsEyeConfig(width=width, height=height, metres=float(span[1]), ego_up=False, ego_row=0.5)


def _panel(
    ground: UInt8[np.ndarray, "height width 3"],
    view: viz.BirdsEyeConfig,
    about: np.ndarray,
    cousins: Cousins,
    kind: np.ndarray,
    names: Sequence[str],
    title: str,
) -> UInt8[np.ndarray, "height width 3"]:
    canvas = Image.fromarray(ground).resize((FINER * view.width, FINER * view.height))
    draw = ImageDraw.Draw(canvas)
    for way, number in zip(np.asarray(cousins.vehicle.position, float), kind, strict=True):
        pixels = FINER * viz.pixels_from_world(view, about, way)
        draw.line([tuple(map(float, pixel)) for pixel in pixels], fill=COLOURS[number], width=2 * FINER, joint="curve")
        column, row = pixels[-1]
        reach = 2.5 * FINER
        draw.ellipse((column - reach, row - reach, column + reach, row + reach), fill=COLOURS[number])
    picture = Image.new("RGB", (view.width + LEGEND, max(view.height, 320)), PAPER)
    picture.paste(canvas.resize((view.width, view.height), Image.Resampling.BOX), (0, 0))
    draw = ImageDraw.Draw(picture)
    text = f"{cousins.count} {title}".replace(", ", ",\n")
    draw.multiline_text((view.width + 8, 8), text, fill=INK, font=load_font(13))
    for line, number in enumerate(np.unique(kind).tolist()):
        top = 56 + 22 * line
        draw.rectangle((view.width + 8, top + 3, view.width + 24, top + 13), fill=COLOURS[number])
        words = f"{names[number]} ({int((kind == number).sum())})"
        draw.text((view.width + 30, top), words, fill=INK, font=load_font(13))
    return np.asarray(picture)


def _parked(log: DrivingLog) -> np.ndarray:
    """Boxes of the first frame in which each actor is seen."""
    boxes = []
    for track in log.tracks:
        pose = track.world_from_box[int(np.argmax(track.valid))]
        boxes.append([*pose[:2, 3], np.arctan2(pose[1, 0], pose[0, 0]), track.size[0], track.size[1]])
    return np.array(boxes).reshape(-1, 5)


def strip(data: CousinData, dt: float) -> UInt8[np.ndarray, "height width 3"]:
    """One cousin of each family a row: what its first camera shows at some moments, with speed and action."""
    rows = data.rows
    chosen = [int(rows["cousin"][np.argmax(rows["family"] == number)]) for number in np.unique(rows["family"])]
    height = round(TILE * rows["frames"].shape[2] / rows["frames"].shape[3])
    canvas = Image.new("RGB", (110 + SHOWN_MOMENTS * (TILE + 4), len(chosen) * (height + 22)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for line, cousin in enumerate(chosen):
        at = np.flatnonzero(rows["cousin"] == cousin)
        top = line * (height + 22)
        draw.text((6, top + height // 2), NAMES[rows["family"][at[0]]], fill=INK, font=load_font(14))
        for column, row in enumerate(at[np.linspace(0, len(at) - 1, SHOWN_MOMENTS).round().astype(int)]):
            left = 110 + column * (TILE + 4)
            image = Image.fromarray(rows["frames"][row, 0]).resize((TILE, height), Image.Resampling.BICUBIC)
            canvas.paste(image, (left, top))
            acceleration, steering = rows["action"][row]
            text = (
                f"{dt * rows['step'][row]:.1f} s  {rows['ego'][row, 0]:.1f} m/s  {acceleration:+.1f} m/s2  "
                f"{np.degrees(steering):+.0f}°"
            )
            draw.text((left, top + height + 3), text, fill=INK, font=load_font(11))
    return np.asarray(canvas)


def draw_histograms(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    """Curvature, speed, acceleration and lateral offset of the log and of its cousins, as shares of steps."""
    figure = Figure(figsize=(11, 5.6), dpi=110, layout="constrained")
    for number, (name, edges) in enumerate(QUANTITIES.items()):
        axes = figure.add_subplot(2, 2, number + 1)
        for label, counts, colour in (("cousins", after, "#0072b2"), ("log", before, "#e69f00")):
            share = counts[name] / max(counts[name].sum(), 1)
            axes.stairs(share, edges, label=label, color=colour, fill=label == "cousins", alpha=0.6, linewidth=1.6)
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.set_xlabel(name)
        axes.set_ylabel("share of steps")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))

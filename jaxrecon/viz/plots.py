"""Figures of a run: how the policy learned, and how well the scene matches its recording."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from jaxrecon.viz.atomic import replacing
from jaxrecon.viz.palette import INK, PAPER, load_font

HEADER = 26
GAP = 6
ERROR_GAIN = 3.0  # small errors are what a reader looks for
UNKNOWN = 128  # grey of what has no value
FEW = 5  # curves of a panel whose legend leaves them visible
IN_A_ROW = 4  # panels
COLOURS = matplotlib.colormaps["tab20"]


def plot_learning_curves(
    panels: Mapping[str, Mapping[str, Sequence[float] | np.ndarray]],
    path: str | pathlib.Path,
    axis_labels: Mapping[str, str] | None = None,
) -> None:
    """One panel a figure of merit, one line a series, over updates.

    A series of panels with many has one colour in all of these, and one legend beside them.

    Args:
        panels: title of each panel to its series by name.
        path: PNG to write; an existing file is replaced.
        axis_labels: what a panel's horizontal axis counts; "update" where not given.

    Raises:
        ValueError: there is no panel or a series is empty or not finite.
    """
    if not panels:
        raise ValueError(f"{path}: expected at least one panel, received none")
    columns, rows = min(len(panels), IN_A_ROW), -(-len(panels) // IN_A_ROW)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), dpi=110, layout="constrained")
    crowded = list(dict.fromkeys(name for series in panels.values() if len(series) > FEW for name in series))
    colours = {name: COLOURS(number % COLOURS.N) for number, name in enumerate(crowded)}
    lines: dict[str, Any] = {}
    for number, (title, series) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        for name, values in series.items():
            values = np.asarray(values, float)
            if values.ndim != 1 or not values.size or not np.isfinite(values).all():
                raise ValueError(
                    f"{path}: series {name!r} of {title!r}: expected finite numbers in one dimension, received {values}"
                )
            colour = colours[name] if len(series) > FEW else None
            look: dict[str, Any] = {"linewidth": 1.6, "marker": "o", "markersize": 2, "color": colour}
            (line,) = axes.plot(np.arange(1, len(values) + 1), values, label=name, **look)
            lines |= {name: line} if len(series) > FEW else {}
        axes.set_title(title, fontsize=10)
        axes.set_xlabel((axis_labels or {}).get(title, "update"))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if 1 < len(series) <= FEW:
            axes.legend(fontsize=8, frameon=False)
    if lines:
        figure.legend(list(lines.values()), list(lines), loc="outside right center", fontsize=8, frameon=False)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def reconstruction_sheet(
    recorded: UInt8[np.ndarray, "frame height width 3"],
    rendered: UInt8[np.ndarray, "frame height width 3"],
    labels: Sequence[str],
    column_width: int = 480,
    further: Mapping[str, UInt8[np.ndarray, "frame height width 3"]] | None = None,
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Rows of recorded, rendered, error and further images.

    Args:
        recorded: what the camera saw.
        rendered: the reconstruction at the same poses.
        labels: one a row, say the frame and its PSNR.
        column_width: width in pixels of each image on the sheet.
        further: images of more columns by their titles, say depth in false colours.

    Returns:
        The sheet; errors are absolute differences, brightened ``ERROR_GAIN`` times.

    Raises:
        ValueError: the number of labels differs from the number of frames.
    """
    if len(labels) != len(recorded):
        raise ValueError(f"labels: expected one for each of {len(recorded)} frames, received {len(labels)}")
    difference = np.abs(recorded.astype(np.float32) - rendered.astype(np.float32))
    error = np.clip(ERROR_GAIN * difference, 0, 255).astype(np.uint8)
    columns = {"recorded": recorded, "rendered": rendered, f"error x {ERROR_GAIN:g}": error, **(further or {})}
    row_height = round(recorded.shape[1] * column_width / recorded.shape[2])
    width = len(columns) * (column_width + GAP) - GAP
    canvas = Image.new("RGB", (width, HEADER + len(labels) * (row_height + HEADER)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(columns):
        draw.text((column * (column_width + GAP) + 4, 4), title, fill=INK, font=load_font(16))
    for row, label in enumerate(labels):
        top = HEADER + row * (row_height + HEADER)
        for column, images in enumerate(columns.values()):
            image = Image.fromarray(images[row]).resize((column_width, row_height), Image.Resampling.BICUBIC)
            canvas.paste(image, (column * (column_width + GAP), top))
        draw.text((4, top + row_height + 4), label, fill=INK, font=load_font(13))
    return np.asarray(canvas)


def false_colours(
    values: Float[np.ndarray, "*b height width"], scale: str = "turbo"
) -> UInt8[np.ndarray, "*b height width 3"]:
    """Values in [0, 1] as colours of one of Matplotlib's scales; grey where they are not finite."""
    known = np.isfinite(values)
    colours = matplotlib.colormaps[scale](np.clip(np.where(known, values, 0.0), 0, 1))[..., :3]
    return np.where(known[..., None], np.round(255 * colours), UNKNOWN).astype(np.uint8)


def write_image(image: UInt8[np.ndarray, "height width 3"], path: str | pathlib.Path) -> None:
    """Write a picture in the format of its suffix; the file appears under its name only when it is whole."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary)

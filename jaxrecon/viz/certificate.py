"""The page that shows a scene's certificate."""

import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxrecon.reconstruct.certificate import Certificate
from jaxrecon.reconstruct.confidence_error import ErrorBins
from jaxrecon.viz.atomic import replacing
from jaxrecon.viz.plots import false_colours, reconstruction_sheet, write_image
from jaxrecon.viz.report import Media, Report, Section, Table, write_report

_COLUMN = 360  # pixels across of one example
_MAIN, _SECOND = "#0072b2", "#e69f00"


@dataclasses.dataclass(frozen=True)
class Examples:
    """A few views to show beside the figures.

    Attributes:
        recorded: what the camera saw.
        rendered: the scene at the same poses.
        confidence: in [0, 1].
        labels: one a view.
    """

    recorded: UInt8[np.ndarray, "view height width 3"]
    rendered: UInt8[np.ndarray, "view height width 3"]
    confidence: Float[np.ndarray, "view height width"]
    labels: Sequence[str]


def write_certificate(certificate: Certificate, path: str | pathlib.Path, examples: Examples | None = None) -> None:
    """Write the certificate as one HTML page that holds its pictures, and as JSON beside it.

    Args:
        certificate: of a scene.
        path: of the page; the JSON gets the same name with the suffix ``.json``.
        examples: views to show; None shows none.
    """
    path = pathlib.Path(path)
    with tempfile.TemporaryDirectory() as folder:
        pictures = pathlib.Path(folder)
        sections = [_where_to_trust(certificate, pictures)]
        if certificate.heldout is not None:
            sections.append(_heldout(certificate, pictures))
        sections.append(_calibration(certificate, pictures))
        if examples is not None:
            sections.append(_shown(examples, pictures))
        lead = (
            f"{certificate.log}, {certificate.frames} frames at {certificate.size[0]} x {certificate.size[1]}; "
            f"{certificate.gaussians:,} Gaussians, half of them seen in at least {certificate.median_views:g} views"
        )
        write_report(Report("Certificate of a scene", lead, _headlines(certificate), sections), path)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(certificate), indent=1, allow_nan=False), encoding="utf-8")


def plot_trust(certificate: Certificate, path: str | pathlib.Path) -> None:
    """Heat maps of predicted error and unsupported share over lateral offset and yaw; a line bounds what is trusted.

    Args:
        certificate: of a scene.
        path: PNG to write.
    """
    figure = Figure(figsize=(10.4, 4.4), dpi=110, layout="constrained")
    most = max(max(line) for line in certificate.predicted_error)
    panels = (
        ("predicted mean absolute error", certificate.predicted_error, most, "{:.3f}"),
        ("share of unsupported pixels", certificate.unsupported, 1.0, "{:.0%}"),
    )
    trusted = np.array(certificate.trusted)
    for number, (title, values, top, form) in enumerate(panels):
        axes = figure.add_subplot(1, 2, number + 1)
        axes.imshow(np.array(values), cmap="magma_r", vmin=0, vmax=top, aspect="auto")
        for row, column in np.ndindex(trusted.shape):
            shade = values[row][column] / top
            text = form.format(values[row][column])
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="w" if shade > 0.55 else "k")
        _outline(axes, trusted)
        axes.set_xticks(range(len(certificate.yaws_deg)), [f"{yaw:g}" for yaw in certificate.yaws_deg])
        axes.set_yticks(range(len(certificate.offsets)), [f"{offset:g}" for offset in certificate.offsets])
        axes.invert_yaxis()
        axes.invert_xaxis()
        axes.set_xlabel("yaw to the left, degrees")
        axes.set_ylabel("offset to the left, metres")
        axes.set_title(title, fontsize=10)
    _save(figure, path)


def plot_heldout(certificate: Certificate, path: str | pathlib.Path) -> None:
    """PSNR and SSIM of every held-out view over the recording.

    Args:
        certificate: of a scene with held-out views.
        path: PNG to write.
    """
    heldout = certificate.heldout
    if heldout is None:
        raise ValueError(f"{path}: the certificate of {certificate.log} has no held-out views to plot")
    figure = Figure(figsize=(10.4, 3.0), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, values, colour in (("whole image", heldout.psnr, _MAIN), ("outside boxes", heldout.psnr_static, _SECOND)):
        left.plot(heldout.frame, _numbers(values), label=name, color=colour, marker="o", markersize=3, linewidth=1.2)
    right.plot(heldout.frame, _numbers(heldout.ssim), color=_MAIN, marker="o", markersize=3, linewidth=1.2)
    left.set_ylabel("PSNR, dB")
    right.set_ylabel("SSIM")
    left.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.set_xlabel("frame")
        _plain(axes)
    _save(figure, path)


def plot_calibration(certificate: Certificate, path: str | pathlib.Path, further: ErrorBins | None = None) -> None:
    """Measured error by confidence with 95% intervals, the fitted map, and how the pixels are spread.

    Args:
        certificate: of a scene.
        path: PNG to write.
        further: bins of other views, say of true ones beside the path.
    """
    figure = Figure(figsize=(10.4, 3.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    calibration = certificate.calibration
    left.plot(calibration.confidence, calibration.error, color="#5b6270", linewidth=1.2, label="calibration")
    left.axvspan(0, calibration.lowest, color="#5b6270", alpha=0.12, linewidth=0, label="not observed")
    for name, bins, colour in (("held-out views", certificate.bins, _MAIN), ("other views", further, _SECOND)):
        if bins is not None:
            _plot_bins(left, bins, name, colour)
            centres = (np.array(bins.low) + np.array(bins.high)) / 2
            width = 0.8 * (bins.high[0] - bins.low[0])
            right.bar(centres, np.array(bins.pixels) / max(sum(bins.pixels), 1), width, color=colour, alpha=0.6)
    left.set_ylabel("absolute error")
    right.set_ylabel("share of pixels")
    left.set_ylim(bottom=0)
    left.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.set_xlabel("confidence")
        axes.set_xlim(0, 1)
        _plain(axes)
    _save(figure, path)


def _plot_bins(axes: Axes, bins: ErrorBins, name: str, colour: str) -> None:
    at, error = _numbers(bins.confidence), _numbers(bins.error)
    # A bin that one view fills has a mean but no interval.
    below = np.nan_to_num(error - _numbers(bins.error_low))
    above = np.nan_to_num(_numbers(bins.error_high) - error)
    axes.errorbar(at, error, yerr=[below, above], fmt="o", markersize=4, capsize=3, color=colour, label=name)


def _headlines(certificate: Certificate) -> dict[str, str]:
    summary = certificate.heldout.summary if certificate.heldout is not None else {}
    row, column = certificate.offsets.index(0.0), certificate.yaws_deg.index(0.0)
    return {
        "held-out PSNR": _figure(summary.get("psnr"), "{:.2f} dB"),
        "outside boxes": _figure(summary.get("psnr_static"), "{:.2f} dB"),
        "held-out SSIM": _figure(summary.get("ssim"), "{:.3f}"),
        "trusted beside the path": _range(certificate.trusted_offset, "m"),
        "trusted yaw on the path": _range(certificate.trusted_yaw_deg, "°"),
        "predicted error on the path": f"{certificate.predicted_error[row][column]:.3f}",
    }


def _where_to_trust(certificate: Certificate, pictures: pathlib.Path) -> Section:
    plot_trust(certificate, pictures / "trust.png")
    lines = zip(certificate.offsets, certificate.along_path, strict=True)
    table = Table(
        ["unsupported pixels, by offset", *(f"frame {frame}" for frame in certificate.sample_frames)],
        [[f"{offset:+g} m", *(f"{share:.0%}" for share in line)] for offset, line in lines],
    )
    note = (
        f"A view is trusted (within the green line) where its predicted error is at most {certificate.error_limit:.3f} "
        f"and at most {certificate.unsupported_limit:.0%} of its pixels have a confidence below "
        f"{certificate.unsupported_below:g}. Errors are mean absolute differences of colours in [0, 1], over "
        f"{len(certificate.sample_frames)} places along the path. They are calibrated on the recorded path: beside it, "
        "wrong geometry that no recorded view shows can make them larger."
    )
    return Section("Where novel views can be trusted", note, table, [Media(pictures / "trust.png", "")])


def _heldout(certificate: Certificate, pictures: pathlib.Path) -> Section:
    plot_heldout(certificate, pictures / "heldout.png")
    return Section("Held-out views", media=[Media(pictures / "heldout.png", "Views that the fit never saw")])


def _calibration(certificate: Certificate, pictures: pathlib.Path) -> Section:
    plot_calibration(certificate, pictures / "calibration.png")
    note = "Below the lowest confidence that was observed the map runs to the difference between unrelated pixels."
    bins, table = certificate.bins, None
    if bins is not None:
        rows = [
            [f"{bins.low[i]:.1f} to {bins.high[i]:.1f}", f"{bins.pixels[i]:,}", _interval(bins, i)]
            for i in range(len(bins.low))
            if bins.pixels[i]
        ]
        table = Table(["confidence", "pixels", "absolute error, 95 % interval over views"], rows)
    return Section("What confidence stands for", note, table, [Media(pictures / "calibration.png", "")])


def _shown(examples: Examples, pictures: pathlib.Path) -> Section:
    sheet = reconstruction_sheet(
        examples.recorded,
        examples.rendered,
        examples.labels,
        _COLUMN,
        {"confidence, dark is low": false_colours(examples.confidence, "viridis")},
    )
    write_image(sheet, pictures / "examples.png")
    return Section("Examples", media=[Media(pictures / "examples.png", "")])


def _interval(bins: ErrorBins, place: int) -> str:
    low, high = bins.error_low[place], bins.error_high[place]
    bounds = "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"
    return f"{bins.error[place]:.4f}{bounds}"


def _outline(axes: Axes, trusted: np.ndarray) -> None:
    """A line around the cells that are trusted."""
    padded = np.pad(trusted, 1)
    rows, columns = trusted.shape
    for row in range(rows + 1):
        for column in range(columns + 1):
            inside = padded[row + 1, column + 1]
            if inside != padded[row, column + 1]:
                axes.plot([column - 0.5, column + 0.5], [row - 0.5, row - 0.5], color="#009e73", linewidth=2)
            if inside != padded[row + 1, column]:
                axes.plot([column - 0.5, column - 0.5], [row - 0.5, row + 0.5], color="#009e73", linewidth=2)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _range(bounds: tuple[float, float], unit: str) -> str:
    return f"{bounds[0]:+g} to {bounds[1]:+g} {unit}"


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: str | pathlib.Path) -> None:
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))

"""What a person sees of a scoreboard: pictures, a page of its own, and the same as Markdown."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from drive_films import gallery
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from runs import write_text

from jaxrecon import viz
from jaxrecon.agents.scoreboard import WAY, Row
from jaxrecon.viz.atomic import replacing

SAFETY = ("CR", "DCR", "SCR", "DR", "PDR", "HDR", "at_fault_collision", "progress", WAY, "PDMS")
RIDE = ("ADD", "longitudinal_jerk", "lateral_jerk", "comfort", "time_to_collision_within_bound")
PLOTTED = ("CR", "DR", "at_fault_collision", "progress", WAY, "PDMS")
COMPARED = (
    ("CR", "difference"),
    ("CR", "ratio"),
    ("DR", "difference"),
    ("at_fault_collision", "difference"),
    ("progress", "ratio"),
    (WAY, "ratio"),
    ("PDMS", "difference"),
)
LEGEND = (
    "Shares of clips that ended in a collision (CR: with a moving road user DCR, with what stands SCR) or off the "
    "expert's path (DR: by position PDR, by heading HDR); collisions by the driver's own fault; way covered over the "
    "expert's in the same time (progress) and in the whole clip (NAVSIM's EP); NAVSIM's PDMS. Means with 95 % "
    "intervals over training seeds and scenes, then clips."
)
RIDE_LEGEND = (
    "Distance to the expert's path (m), jerks (m/s3), shares of clips in comfort and never too near a collision."
)
MISSING = "-"
SHADES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # of policies, each with every marker


def interval_text(numbers: Sequence[Any] | None, digits: int = 3, sign: str = "") -> str:
    """A mean with its interval; a dash for what could not be measured."""
    if numbers is None:
        return MISSING
    mean, low, high = (float(number) for number in numbers)
    return f"{mean:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def rows_table(rows: Sequence[Row], names: Sequence[str]) -> viz.Table:
    """Drivers down, metrics across."""
    headings = ["driver", *(name.replace("_", " ") for name in names)]
    return viz.Table(headings, [[row.driver, *(interval_text(row.metrics[name]) for name in names)] for row in rows])


def failures_table(rows: Sequence[Row]) -> viz.Table:
    """How many clips each event ended, of all seeds."""
    events = list(rows[0].failures)
    return viz.Table(
        ["driver", *events, "clips", "seeds", "scenes"],
        [[r.driver, *(str(r.failures[e]) for e in events), str(r.clips), str(r.seeds), str(r.scenes)] for r in rows],
    )


def behaviours_table(rows: Sequence[Row]) -> viz.Table:
    """Drivers down, behaviours across: how many clips of each ended in a collision."""
    names = list(rows[0].behaviours)
    headings = ["driver", *(name.replace("_", " ") for name in names)]
    return viz.Table(headings, [[row.driver, *(interval_text(row.behaviours[n], 2) for n in names)] for row in rows])


def plot_behaviours(worlds: Mapping[str, Sequence[Row]], path: pathlib.Path) -> None:
    """Collision rates as shades, drivers down and behaviours across, one panel a world."""
    most = max(len(rows) for rows in worlds.values())
    across = max(len(rows[0].behaviours) for rows in worlds.values())
    size = ((2.6 + 0.75 * across) * len(worlds), 1.6 + 0.27 * most)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    for number, (world, rows) in enumerate(worlds.items()):
        names = list(rows[0].behaviours)
        rates = np.array([[(row.behaviours[name] or (np.nan,))[0] for name in names] for row in rows], float)
        axes = figure.add_subplot(1, len(worlds), number + 1)
        axes.imshow(rates, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for row, column in np.argwhere(np.isfinite(rates)):
            rate = rates[row, column]
            colour = "white" if rate > 0.6 else "#22262e"
            axes.text(column, row, f"{rate:.2f}", ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
        axes.set_yticks(range(len(rows)), [row.driver for row in rows])
        axes.set_title(world, fontsize=9)
        axes.tick_params(labelsize=8, length=0)
        axes.spines[:].set_visible(False)
    _write(figure, path)


def plot_rows(worlds: Mapping[str, Sequence[Row]], path: pathlib.Path) -> None:
    """Means with intervals, drivers down, one panel a metric and world."""
    figure = Figure(
        figsize=(2.5 * len(PLOTTED) + 1.2, 0.9 + sum(0.7 + 0.27 * len(rows) for rows in worlds.values())),
        dpi=110,
        layout="constrained",
    )
    heights = [2 + len(rows) for rows in worlds.values()]
    grid = figure.add_gridspec(len(worlds), len(PLOTTED), height_ratios=heights)
    for line, (world, rows) in enumerate(worlds.items()):
        for column, name in enumerate(PLOTTED):
            axes = figure.add_subplot(grid[line, column])
            known = [(place, row.metrics[name]) for place, row in enumerate(rows) if row.metrics[name] is not None]
            for place, numbers in known:
                mean, low, high = numbers or (0.0, 0.0, 0.0)
                axes.plot([low, high], [place, place], color="#0072b2", linewidth=2)
                axes.plot([mean], [place], "o", color="#22262e", markersize=4)
            axes.set_xlim(-0.03, 1.03)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_yticks(range(len(rows)), [row.driver for row in rows] if column == 0 else [""] * len(rows))
            axes.set_title(f"{world}\n{name.replace('_', ' ')}" if column == 0 else name.replace("_", " "), fontsize=9)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.25, axis="x")
            axes.spines[["top", "right"]].set_visible(False)
    _write(figure, path)


def plot_transfer(points: Mapping[str, Mapping[str, Sequence[float]]], path: pathlib.Path) -> None:
    """Each policy's mean in reality over that in splats, one panel a metric.

    Args:
        points: metric to policy to (splats, reality).
        path: PNG to write.
    """
    figure = Figure(figsize=(3.2 * len(points) + 2.4, 3.3), dpi=110, layout="constrained")
    for number, (name, policies) in enumerate(points.items()):
        axes = figure.add_subplot(1, len(points), number + 1)
        values = np.array(list(policies.values()), float)
        low, high = np.nanmin(values), np.nanmax(values)
        room = 0.08 * (high - low) + 0.02
        axes.plot([low - room, high + room], [low - room, high + room], color="#b0b4ba", linewidth=1, zorder=0)
        marks = zip(policies.items(), itertools.cycle(itertools.product("osD^v", SHADES)), strict=False)
        for (policy, (splats, reality)), (marker, shade) in marks:
            axes.plot([splats], [reality], marker, markersize=5, color=shade, alpha=0.8, label=policy)
        axes.set_xlabel(f"{name.replace('_', ' ')} in splats", fontsize=9)
        axes.set_ylabel("in reality", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    _write(figure, path)


def _write(figure: Figure, path: pathlib.Path) -> None:
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def comparison_table(comparisons: Sequence[Mapping[str, Any]]) -> viz.Table:
    """Pairs of drivers down: differences and ratios of what is compared."""
    rows = []
    for pair in comparisons:
        told = [
            interval_text(pair["metrics"][name][how], *((3, "+") if how == "difference" else (2, "")))
            for name, how in COMPARED
        ]
        rows.append([f"{pair['first']} v. {pair['second']}", pair["world"], *told])
    words = {"difference": "first minus second", "ratio": "first over second"}
    headings = [f"{name.replace('_', ' ')}, {words[how]}" for name, how in COMPARED]
    return viz.Table(["first v. second", "world", *headings], rows)


def transfer_tables(transfer: Mapping[str, Any]) -> tuple[viz.Table, viz.Table]:
    """Rank correlations by metric, and disagreements by policy."""
    ranks = [
        [name.replace("_", " "), str(transfer["policies"]), interval_text(numbers)]
        for name, numbers in transfer["rank_correlation"].items()
    ]
    disagreements = [
        [entry["policy"], entry["world"], str(entry["moments"]), *(f"{entry[name]:.3f}" for name in DISAGREEMENT)]
        for entry in transfer["disagreement"]
    ]
    told = ["policy", "world", "moments", *(name.replace("_", " ") for name in DISAGREEMENT)]
    return viz.Table(["metric", "policies", "Spearman's rank correlation"], ranks), viz.Table(told, disagreements)


DISAGREEMENT = ("differs", "lateral", "longitudinal", "total_variation")


def write_pages(
    board: Mapping[str, Any], rows: Sequence[Row], pictures: Sequence[pathlib.Path], folder: pathlib.Path
) -> None:
    """`scoreboard.html`, which holds everything, and `scoreboard.md` with its pictures beside it.

    Args:
        board: what `scoreboard.json` holds.
        rows: of all drivers in all worlds.
        pictures: of the moments in which clips ended; their videos lie beside them.
        folder: of the scoreboard.
    """
    sections = sections_of(board, rows, pictures, folder)
    worlds = sorted({row.world for row in rows})
    figures = {
        "drivers": str(len({row.driver for row in rows})),
        "worlds": str(len(worlds)),
        "clips a row": " / ".join(sorted({f"{row.clips:,}" for row in rows})),
        "scenes": " / ".join(f"{next(r.scenes for r in rows if r.world == world)} {world}" for world in worlds),
    }
    lead = f"{board['device']}; JAX {board['jax']}; jaxrecon {board['jaxrecon']}; {board['date']}"
    viz.write_report(viz.Report("Scoreboard", lead, figures, sections), folder / "scoreboard.html")
    write_text(folder / "scoreboard.md", markdown(lead, sections, folder))


def sections_of(
    board: Mapping[str, Any], rows: Sequence[Row], pictures: Sequence[pathlib.Path], folder: pathlib.Path
) -> list[viz.Section]:
    """All there is to show, in order."""
    worlds: dict[str, list[Row]] = {}
    for row in rows:
        worlds.setdefault(row.world, []).append(row)
    plot_rows(worlds, folder / "drivers.png")
    sections = [viz.Section("At a glance", LEGEND, media=[viz.Media(folder / "drivers.png", "Means and intervals")])]
    for world, of_world in worlds.items():
        first = of_world[0]
        note = f"{first.clips} clips in {first.scenes} scenes, set {first.kind}. "
        note += "" if first.headline else "Fewer clips than a headline row has. "
        note += "In-scene: policies may have been trained in this very drive. " if first.in_scene else ""
        sections.append(viz.Section(f"In {world}", note.strip(), rows_table(of_world, SAFETY)))
        sections.append(viz.Section(f"The ride in {world}", RIDE_LEGEND, rows_table(of_world, RIDE)))
        sections.append(viz.Section(f"What ended clips in {world}", table=failures_table(of_world)))
    challenged = {world: of_world for world, of_world in worlds.items() if of_world[0].behaviours}
    if challenged:
        sections += _behaviour_sections(challenged, folder)
    if board["comparisons"]:
        note = "Over the same clips; intervals over seeds and scenes, then clips, drawn alike for both."
        sections.append(viz.Section("Compared in pairs", note, comparison_table(board["comparisons"])))
    if (transfer := board["transfer"]) is not None:
        sections += _transfer_sections(transfer, folder)
    if pictures:
        viz.write_image(gallery(list(pictures)), folder / "failures.png")
        note = "The last moment of one clip for each driver and event; their videos are in the folder `videos`."
        sections.append(viz.Section("Failures", note, media=[viz.Media(folder / "failures.png", "How clips ended")]))
    told = [
        [s["world"], s["kind"], str(s["seed"]), str(s["scenes"]), str(s["clips"]), s["hash"][:12]]
        for s in board["sets"]
    ]
    headings = ["world", "kind", "seed", "scenes", "clips", "hash"]
    return [*sections, viz.Section("Evaluation sets", table=viz.Table(headings, told))]


def _behaviour_sections(worlds: Mapping[str, Sequence[Row]], folder: pathlib.Path) -> list[viz.Section]:
    plot_behaviours(worlds, folder / "behaviours.png")
    note = "Share of the clips in which an adversary does this that ended in a collision."
    media = [viz.Media(folder / "behaviours.png", "Collision rates by behaviour")]
    tables = [viz.Section(f"By behaviour in {world}", table=behaviours_table(rows)) for world, rows in worlds.items()]
    return [viz.Section("Collisions by behaviour", note, media=media), *tables]


def _transfer_sections(transfer: Mapping[str, Any], folder: pathlib.Path) -> list[viz.Section]:
    ranks, disagreements = transfer_tables(transfer)
    sections = []
    if transfer["rank_correlation"]:
        plot_transfer(transfer["means"], folder / "transfer.png")
        note = "Do splats rank policies as reality does? Over the policies that look; fewer than eight say little."
        media = [viz.Media(folder / "transfer.png", "Every policy's means in both worlds")]
        sections.append(viz.Section("From splats to reality", note, ranks, media))
    if transfer["disagreement"]:
        note = "What policies do on rendered against true images of held-out frames, at identical poses: share of "
        note += "moments in which the chosen anchors differ, metres between expected anchors, total variation."
        sections.append(viz.Section("Action disagreement", note, disagreements))
    return sections


def markdown(lead: str, sections: Sequence[viz.Section], folder: pathlib.Path) -> str:
    """The same page as Markdown."""
    parts = ["# Scoreboard", lead]
    for section in sections:
        parts += [f"## {section.title}", *([section.note] if section.note else [])]
        if section.table:
            lines = [section.table.headings, ["---"] * len(section.table.headings), *section.table.rows]
            parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        parts += [f"![{one.caption}]({one.path.relative_to(folder)})" for one in section.media]
    return "\n\n".join(parts) + "\n"

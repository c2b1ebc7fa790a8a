"""One page that shows a run. It holds its pictures and its video, so it can be mailed as it is."""

import base64
import dataclasses
import html
import pathlib
from collections.abc import Mapping, Sequence

from jaxrecon.viz.atomic import replacing
from jaxrecon.viz.palette import POLICY_COLOURS

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4"}

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#22262e;max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #d7dade}
p.lead{color:#5b6270;margin-top:.2rem}img,video{max-width:100%;border-radius:4px;background:#eceeea}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #e5e7ea}
th:first-child,td:first-child{text-align:left}
td small{color:#7b828e}figcaption,p.note{color:#5b6270;font-size:.9rem}figure{margin:1rem 0}
ul.figures{display:flex;flex-wrap:wrap;gap:.8rem;padding:0;list-style:none}
ul.figures li{background:#f4f5f3;border-radius:6px;padding:.6rem 1rem}ul.figures b{display:block;font-size:1.35rem}
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under headings; the first column names the row."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Media:
    """A picture or a video with its caption."""

    path: pathlib.Path
    caption: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading with, in this order, a note, a table and media; each may be missing."""

    title: str
    note: str = ""
    table: Table | None = None
    media: Sequence[Media] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """A page: title, one line under it, headline figures by name, sections."""

    title: str
    lead: str
    figures: Mapping[str, str]
    sections: Sequence[Section]


def write_report(report: Report, path: str | pathlib.Path) -> None:
    """Write the page as one HTML file without outside references; it appears only when it is whole.

    Raises:
        ValueError: a table's row has another length than its headings, or a medium's suffix is unknown.
        FileNotFoundError: a medium does not exist.
    """
    figures = "".join(f"<li><b>{_text(value)}</b>{_text(name)}</li>" for name, value in report.figures.items())
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(report.title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head><body>'
        f'<h1>{_text(report.title)}</h1><p class="lead">{_text(report.lead)}</p><ul class="figures">{figures}</ul>'
        f"{''.join(_section(section) for section in report.sections)}</body></html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def metrics_table(
    metrics: Mapping[str, Mapping[str, float | None]],
    intervals: Mapping[str, Mapping[str, Sequence[float | None]]],
) -> Table:
    """Policies down, metrics across, each with its 95 % interval where one is known.

    Args:
        metrics: policy to metric name to value, None where it could not be measured; all policies have the metrics of
            the first.
        intervals: the same to (low, high); a policy or a metric may be missing.
    """
    names = list(next(iter(metrics.values())))
    rows = []
    for policy, values in metrics.items():
        cells = [policy]
        for name in names:
            bounds = intervals.get(policy, {}).get(name)
            value = values[name]
            interval = f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds and None not in bounds else ""
            cells.append("-" if value is None else f"{value:.3f}{interval}")
        rows.append(cells)
    return Table(headings=["policy", *(name.replace("_", " ") for name in names)], rows=rows)


def _text(value: str) -> str:
    return html.escape(str(value))


def _section(section: Section) -> str:
    note = f'<p class="note">{_text(section.note)}</p>' if section.note else ""
    table = _table(section.table) if section.table else ""
    return f"<h2>{_text(section.title)}</h2>{note}{table}{''.join(_medium(medium) for medium in section.media)}"


def _table(table: Table) -> str:
    for row in table.rows:
        if len(row) != len(table.headings):
            raise ValueError(f"table row {list(row)}: expected {len(table.headings)} cells, received {len(row)}")
    head = "".join(f"<th>{_text(heading)}</th>" for heading in table.headings)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows)
    return f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str) -> str:
    colour = f' style="color:{POLICY_COLOURS[cell]};font-weight:600"' if cell in POLICY_COLOURS else ""
    value, bracket, interval = _text(cell).partition(" [")
    return f"<td{colour}>{value}" + (f"<br><small>[{interval}</small>" if bracket else "") + "</td>"


def _medium(medium: Media) -> str:
    suffix = medium.path.suffix.lower()
    if suffix not in MEDIA_TYPES:
        raise ValueError(f"{medium.path}: expected a suffix among {sorted(MEDIA_TYPES)}, received {suffix!r}")
    source = f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(medium.path.read_bytes()).decode()}"
    caption = _text(medium.caption)
    tag = (
        f'<video controls loop muted autoplay playsinline src="{source}"></video>'
        if suffix == ".mp4"
        else f'<img alt="{caption}" src="{source}">'
    )
    return f"<figure>{tag}<figcaption>{caption}</figcaption></figure>"

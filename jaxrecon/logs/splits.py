"""The fixed split of a folder of scenarios into those to train in and those to test in."""

import csv
import dataclasses
import os
import pathlib

from jaxrecon.logs.errors import LogError

COLUMNS = ("format", "name", "split")
REMEDY = "Copy the folder again, or correct the table"


@dataclasses.dataclass(frozen=True)
class Split:
    """Files of scenarios, in the order of the table.

    Attributes:
        train: to learn in.
        test: never to learn in.
        parked: the ego hardly moves: good for the traffic around it alone.
    """

    train: tuple[pathlib.Path, ...]
    test: tuple[pathlib.Path, ...]
    parked: tuple[pathlib.Path, ...]


def read_split(folder: str | os.PathLike) -> Split:
    """The split that ``SPLIT.tsv`` in a folder fixes: files ``format/name.json.gz`` by split.

    Raises:
        LogError: the table or a file that it names is missing, a row is broken, or a scenario is told twice.
    """
    folder = pathlib.Path(folder)
    table = folder / "SPLIT.tsv"
    try:
        with open(table, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, ValueError, csv.Error) as error:
        raise LogError(f"cannot be read ({error})", file=table, field="split", remedy=REMEDY) from error
    lists: dict[str, list[pathlib.Path]] = {field.name: [] for field in dataclasses.fields(Split)}
    seen: set[pathlib.Path] = set()
    for number, row in enumerate(rows, start=2):
        line = f"line {number}"
        if any(not row.get(column) for column in COLUMNS):
            problem = f"lacks one of the columns {', '.join(COLUMNS)}"
            raise LogError(problem, file=table, field=line, remedy=REMEDY)
        file = folder / row["format"] / f"{row['name']}.json.gz"
        if row["split"] not in lists:
            problem = f"has the split {row['split']!r}, expected one of {list(lists)}"
            raise LogError(problem, file=table, field=line, remedy=REMEDY)
        if file in seen or not file.is_file():
            problem = f"names {file}, which " + ("an earlier line names too" if file in seen else "is missing")
            raise LogError(problem, file=table, field=line, remedy=REMEDY)
        seen.add(file)
        lists[row["split"]].append(file)
    if not rows:
        raise LogError("has no rows", file=table, field="split", remedy=REMEDY)
    return Split(**{name: tuple(files) for name, files in lists.items()})

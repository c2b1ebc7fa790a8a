"""Rows of a scoreboard, in the form of the committed benchmarks."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark_rows import check_row, tidy

from jaxrecon.agents.scoreboard import WAY

BESIDE = ("DR", "at_fault_collision", "progress", WAY, "PDMS", "ADD")
COLLISIONS = "share of clips that end in a collision"
DIFFERS = "share of moments in which the likeliest anchor of either head differs"


def rows_of(name: str, board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every driver's collision rate with what stands beside it, comparisons of pairs, rank correlations, and how often
    each policy would act otherwise on rendered than on true images.

    Args:
        name: of the scoreboard, in the rows' names.
        board: what `scoreboard.json` holds.
    """
    sets = {one["world"]: one["hash"] for one in board["sets"]}
    rows = []
    for one in board["rows"]:
        told = {key: one[key] for key in ("driver", "world", "clips", "scenes", "seeds")}
        told |= {"set": sets[one["world"].rpartition(", ")[0]], "in_scene": one["in_scene"]}
        told |= {key: numbers for key in BESIDE if (numbers := one["metrics"][key]) is not None}
        told |= {"CR_by_behaviour": one["behaviours"]} if one["behaviours"] else {}
        rows.append(_row(f"scoreboard_{name}", one["metrics"]["CR"], COLLISIONS, told))
    for pair in board["comparisons"]:
        told = {"first": pair["first"], "second": pair["second"], "world": pair["world"]}
        told |= {f"{key}_ratio": pair["metrics"][key]["ratio"] for key in ("progress", WAY)}
        told |= {f"{key}_difference": pair["metrics"][key]["difference"] for key in ("CR", "DR", "PDMS")}
        ratio = pair["metrics"]["CR"]["ratio"]
        if _are_numbers(ratio):
            rows.append(_row(f"collision_ratio_{name}", ratio, "collisions of the first over the second's", told))
    transfer = board["transfer"] or {"rank_correlation": {}, "disagreement": []}
    for metric, correlation in transfer["rank_correlation"].items():
        if _are_numbers(correlation):
            told = {"metric": metric, "policies": transfer["policies"], "worlds": transfer["worlds"]}
            unit = "Spearman's rank correlation of policies' means"
            rows.append(_row(f"rank_correlation_{name}", correlation, unit, told))
    for one in transfer["disagreement"]:
        told = {key: entry for key, entry in one.items() if key != "differs"}
        rows.append({"name": f"action_disagreement_{name}", "value": one["differs"], "unit": DIFFERS, "quality": told})
    where = {key: board[key] for key in ("device", "jax", "date")}
    found = [tidy({**row, **where}) for row in rows]
    for row in found:
        check_row(row)
    return found


def _row(name: str, numbers: Sequence[float], unit: str, quality: Mapping[str, Any]) -> dict[str, Any]:
    mean, low, high = numbers
    return {"name": name, "value": mean, "low": low, "high": high, "unit": unit, "quality": dict(quality)}


def _are_numbers(numbers: Sequence[Any] | None) -> bool:
    """Whether mean and interval are finite: a ratio to nothing is not, and is told in words."""
    return numbers is not None and all(isinstance(number, (int, float)) for number in numbers)

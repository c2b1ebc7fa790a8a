"""The scoreboard's page from rows of known numbers: what is told, what is drawn, and what is left out."""

import jax
import numpy as np
from scoreboard_page import behaviours_table, write_pages

from jaxrecon.agents.scoreboard import SHOWN, Label, Scores, as_json, compare_scores, make_row
from jaxrecon.metrics.closed_loop import Measure

CLIPS, KEY = 8, jax.random.key(0)
PLAYED = ["hard_brake", "merge"] * 4


def scores(collided) -> Scores:
    values = {name: np.zeros(CLIPS, np.float32) for name in SHOWN} | {"CR": np.asarray(collided, np.float32)}
    values |= {"DCR": values["CR"], "SCR": np.zeros(CLIPS, np.float32)}
    measures = {name: Measure(value, np.ones(CLIPS, bool)) for name, value in values.items()}
    return Scores(np.repeat([0, 1], CLIPS // 2), np.arange(CLIPS), measures)


def board_of(rows, comparisons=()):
    where = {"device": "cpu", "jax": "1", "jaxrecon": "1", "date": "2026-01-01"}
    sets = [{"world": "streets", "kind": "corner_cases", "seed": 0, "scenes": 2, "clips": CLIPS, "hash": "abc"}]
    return as_json({"rows": rows, "comparisons": list(comparisons), "transfer": None, "sets": sets, **where})


def test_a_page_tells_collisions_by_behaviour(tmp_path):
    drivers = {"IL": scores([1, 1] * 4), "IL + PPO": scores([0, 1] * 4)}
    worlds = ("streets, splats", "streets, reality")
    rows = [
        make_row(Label(name, world, "corner_cases"), one, KEY, 50, PLAYED)
        for world in worlds for name, one in drivers.items()
    ]  # fmt: skip
    table = behaviours_table(rows[:2])
    assert table.headings == ["driver", "hard brake", "merge"]
    assert table.rows == [["IL", *["1.00 [1.00, 1.00]"] * 2], ["IL + PPO", "0.00 [0.00, 0.00]", "1.00 [1.00, 1.00]"]]
    metrics = compare_scores(*drivers.values(), KEY, 50)
    pair = {"world": worlds[0], "first": "IL", "second": "IL + PPO", "metrics": metrics}
    write_pages(board_of(rows, [pair]), rows, [], tmp_path)
    text, page = (tmp_path / "scoreboard.md").read_text(), (tmp_path / "scoreboard.html").read_text()
    assert "| IL v. IL + PPO | streets, splats | +0.500" in text and "![Collision rates by behaviour]" in text
    assert all(f"## By behaviour in {world}" in text for world in worlds) and page.count("data:image/png") == 2
    assert (tmp_path / "behaviours.png").stat().st_size > 3000


def test_a_page_of_recorded_traffic_has_no_behaviours(tmp_path):
    rows = [make_row(Label("IL", "streets, splats"), scores([0] * CLIPS), KEY, 50)]
    write_pages(board_of(rows), rows, [], tmp_path)
    assert "ehaviour" not in (tmp_path / "scoreboard.md").read_text()
    assert not (tmp_path / "behaviours.png").exists()

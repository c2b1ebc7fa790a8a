"""The command of corner cases leaves films, checks and rates of the behaviours that were asked for."""

import json

import pytest
from corner_cases import CornerCases, main
from runs import RunError

from jaxrecon.traffic.checks import CHECKS


@pytest.mark.torture
def test_films_checks_and_rates_are_written(tmp_path):
    config = CornerCases(
        ("street:0",), tmp_path, ("hard_brake", "stopped_ahead"), each=3, batch=16, rounds=2, films=1, size=(24, 16)
    )
    told = main(config)
    assert told == json.loads((tmp_path / "scenarios.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {
        "scenarios.json", "contact_sheet.png", "hard_brake.mp4", "stopped_ahead.mp4",
    }  # fmt: skip
    assert told["avoidable_share"] == 1.0 and len(told["scenarios"]) == 6
    for case in told["scenarios"]:
        assert set(case["checks"]) == set(CHECKS) and all(case["checks"].values())
        assert case["adversaries"][0]["mode"] in ("reactive", "perturb")
    for rates in told["behaviours"].values():
        assert 0 < rates["acceptance"] <= 1 and rates["non_reacting_collision_rate"] >= 0.2


def test_what_is_neither_street_nor_log_is_refused(tmp_path):
    with pytest.raises(RunError, match="--scenes 'street:x' is neither street:SEED nor the path of a log"):
        main(CornerCases(("street:x",), tmp_path))
    with pytest.raises(RunError, match="--scenes names none"):
        main(CornerCases((), tmp_path))
    with pytest.raises(RunError, match=r"--behaviours \['fly'\] are unknown; expected some of"):
        main(CornerCases(behaviours=("fly",)))

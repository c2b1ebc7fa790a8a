"""The row of the cousins: measured at a small scale, and the least of what its logs gain."""

import dataclasses

import pytest
from benchmark_rows import BenchmarkError, check_row
from cousins_suite import ROW, SCALES, entropy_row, measurements


def report(log: str, value: float) -> dict:
    gain = {"value": value, "low": value - 1, "high": value + 1, "log": 2.0, "cousins": 2 * value,
            "all_cousins": 3 * value, "windows": 40}  # fmt: skip
    return {"log": log, "cousins": 8, "gain": gain}


def test_the_row_is_the_least_of_all_windows_with_that_of_equal_ones_beside_it():
    row = entropy_row([report("a", 5.0), report("b", 2.0), report("c", 4.0)])
    check_row(row)
    assert (row["name"], row["value"]) == (ROW, 3.0)
    quality = row["quality"]
    assert (quality["median"], quality["equal_windows"], quality["equal_windows_median"]) == (6.0, 2.0, 4.0)
    assert set(quality["logs"]) == {"a", "b", "c"} and quality["logs"]["b"]["kinds_cousins"] == 6.0
    assert quality["logs"]["b"]["gain_equal_windows_low"] == 1.0
    with pytest.raises(BenchmarkError, match="no log to make cousins of"):
        entropy_row([])


def test_scenarios_are_those_to_train_in(monkeypatch, tmp_path, capsys):
    import cousins_suite

    monkeypatch.setenv("JAXRECON_DATA", str(tmp_path))
    assert cousins_suite._scenarios(4) == () and "set JAXRECON_DATA" in capsys.readouterr().out
    folder = tmp_path / "womd-scenarios"
    (folder / "v1").mkdir(parents=True)
    lines = ["format\tname\tsplit"]
    for name, split in (("a", "test"), ("b", "train"), ("c", "parked"), ("d", "train")):
        (folder / "v1" / f"{name}.json.gz").touch()
        lines.append(f"v1\t{name}\t{split}")
    (folder / "SPLIT.tsv").write_text("\n".join(lines) + "\n")
    assert [path.name for path in cousins_suite._scenarios(4)] == ["b.json.gz", "d.json.gz"]
    assert [path.name for path in cousins_suite._scenarios(1)] == ["b.json.gz"]


@pytest.mark.torture
def test_it_is_measured_on_a_small_street():
    few = dataclasses.replace(SCALES["tiny"].cousins, families=SCALES["tiny"].cousins.families[-4:])
    row = measurements(dataclasses.replace(SCALES["tiny"], cousins=few))[ROW]()
    check_row(row)
    assert row["value"] > 1 and row["quality"]["scale"] == "tiny" and len(row["quality"]["logs"]) == 1

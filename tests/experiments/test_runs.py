"""A run's stages are computed once, whole or absent, and belong to one configuration."""

import json

import pytest
from runs import Run, RunError, write_text

from jaxrecon.storage import StorageError


def counting(calls: list[str], name: str):
    """A stage's computation that notes that it ran and writes one file."""

    def compute(folder):
        calls.append(name)
        (folder / "result.txt").write_text(name)
        return {"value": 1.5, "list": [1, 2]}

    return compute


def test_stages_are_computed_once(tmp_path, capsys):
    calls: list[str] = []
    first = Run(tmp_path / "run", {"seed": 0}).stage("fit", counting(calls, "fit"))
    again = Run(tmp_path / "run", {"seed": 0}).stage("fit", counting(calls, "fit"))
    assert calls == ["fit"]
    assert (first.resumed, again.resumed) == (False, True)
    assert again.figures == first.figures == {"value": 1.5, "list": [1, 2]}
    assert again.seconds == first.seconds
    assert (again.folder / "result.txt").read_text() == "fit"
    assert "found done" in capsys.readouterr().out


def failing(interruption: type[BaseException]):
    """A stage's computation that fails half way."""

    def compute(folder):
        (folder / "half.txt").write_text("half")
        raise interruption("stop")

    return compute


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_stage_leaves_nothing_and_is_done_again(tmp_path, interruption):
    run = Run(tmp_path / "run", {"seed": 0})
    run.stage("log", counting([], "log"))
    before = {path.name for path in run.folder.iterdir()}
    with pytest.raises(interruption):
        run.stage("fit", failing(interruption))
    assert {path.name for path in run.folder.iterdir()} == before
    calls: list[str] = []
    assert not Run(tmp_path / "run", {"seed": 0}).stage("fit", counting(calls, "fit")).resumed
    assert calls == ["fit"]


def test_a_run_whose_first_stage_fails_leaves_the_folder_free(tmp_path):
    run = Run(tmp_path / "run", {"seed": 0})
    with pytest.raises(RuntimeError):
        run.stage("log", failing(RuntimeError))
    assert not list(tmp_path.iterdir())
    Run(tmp_path / "run", {"seed": 1}).stage("log", counting([], "log"))


def test_a_process_that_found_the_folder_leaves_it_to_the_others(tmp_path):
    first, second = (Run(tmp_path / "run", {"seed": 0}) for _ in range(2))
    with pytest.raises(RuntimeError):
        second.stage("log", failing(RuntimeError))
    first.stage("log", counting([], "log"))
    assert Run(tmp_path / "run", {"seed": 0}).stage("log", counting([], "log")).resumed


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    Run(tmp_path / "run", {"seed": 0, "fit": {"steps": 100, "sizes": (1, 2)}})
    Run(tmp_path / "run", {"seed": 0, "fit": {"steps": 100, "sizes": (1, 2)}})
    with pytest.raises(RunError, match=r"fit\.steps is 100 there, 200 now.*--out"):
        Run(tmp_path / "run", {"seed": 0, "fit": {"steps": 200, "sizes": (1, 2)}})
    assert json.loads((tmp_path / "run" / "run.json").read_text())["fit"]["steps"] == 100


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds other files and no run\.json; choose another folder with --out"):
        Run(tmp_path, {})
    with pytest.raises(RunError, match="holds other files"):
        Run(tmp_path / "notes.txt", {})
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_broken_configuration_is_named(tmp_path):
    Run(tmp_path / "run", {})
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json: is not JSON"):
        Run(tmp_path / "run", {})


def test_an_altered_stage_is_named(tmp_path):
    run = Run(tmp_path / "run", {})
    stage = run.stage("fit", counting([], "fit"))
    (stage.folder / "result.txt").write_text("tampered")
    with pytest.raises(StorageError, match=r"result\.txt"):
        run.stage("fit", counting([], "fit"))


def test_text_is_whole_or_absent(tmp_path):
    write_text(tmp_path / "a.txt", "one")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "two \udcff")
    assert (tmp_path / "a.txt").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]

"""Cousins as rows to learn from: with either kind of label, and refused where they are unfit."""

import dataclasses
import json
import types

import cousins
import imitate
import jax.numpy as jnp
import numpy as np
import pytest
from fitted_streets import FIRST, read_streets, save_street
from reconstruct_presets import TINY_STREET
from runs import RunError
from shown_cousins import show_cousins
from training_worlds import TrainingWorlds

from jaxrecon import agents, street
from jaxrecon.agents.shown import joined, prepare
from jaxrecon.dynamics import VehicleState
from jaxrecon.reconstruct import InitialiseConfig
from jaxrecon.reconstruct.initialise import initialise
from jaxrecon.reconstruct.views import collect_views
from jaxrecon.trajectories import CHECKS, Cousins, Source, StaleCousinsError, read_cousins, write_cousins
from jaxrecon.trajectories.adapted import Adapted
from jaxrecon.trajectories.cousins import ONWARD, PARAMETERS

COUNT, STEPS, ROWS = 3, 12, 4


def planned() -> Cousins:
    """Cousins that stand at the origin."""
    flat = np.zeros((COUNT, STEPS), np.float32)
    return Cousins(
        family=np.arange(COUNT, dtype=np.int32), frame=np.tile(np.arange(STEPS, dtype=np.int32), (COUNT, 1)),
        vehicle=VehicleState(*(jnp.asarray(leaf) for leaf in (np.zeros((COUNT, STEPS, 2)), flat, flat, flat, flat))),
        acceleration=flat[:, 1:], steering=flat[:, 1:], onward=np.zeros((COUNT, ONWARD, 2), np.float32),
        others=Adapted(*(jnp.zeros((COUNT, STEPS, 1)),) * 2, jnp.ones(COUNT, bool)),
        checks=np.ones((COUNT, len(CHECKS)), bool), parameters={name: flat[:, 0] for name in PARAMETERS},
    )  # fmt: skip


def rows(index: int, stride: int = 1) -> dict[str, np.ndarray]:
    """Rows whose frames, labels and navigation say which row of which cousin they are."""
    number = (10 * index + np.arange(ROWS)).astype(np.int32)
    frames = np.broadcast_to(number[:, None, None, None, None], (ROWS, 1, 4, 8, 3)).astype(np.uint8)
    navigation = np.repeat(number[:, None], 6, axis=1).astype(np.float32)
    return {
        "frames": frames, "ego": np.zeros((ROWS, 4), np.float32), "navigation": navigation,
        "recovery_navigation": navigation + 100, "lateral": number, "longitudinal": number,
        "recovery_lateral": number + 1, "recovery_longitudinal": number, "recovery_valid": np.arange(ROWS) < index,
        "family": np.full(ROWS, index, np.int32), "step": stride * np.arange(ROWS, dtype=np.int32),
    }  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "cousin-drive"
    write_cousins(folder, Source("drive", "a" * 64, {}), planned(), rows, progress=False)
    return folder


def worlds(content: dict[str, str] | None = None, validation: str = "other") -> TrainingWorlds:
    """What is asked of the worlds that are trained in."""

    def simulator(name: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(world=types.SimpleNamespace(names=(name,)))

    return TrainingWorlds(train=simulator("one"), validation=simulator(validation), content=content or {})


def test_rows_keep_their_labels_and_histories(data):
    shown = show_cousins((data,), worlds({"drive": "a" * 64}), (8, 4), 2, "both")
    own, back = shown.shown
    assert own.count == COUNT * ROWS and back.count == 0 + 1 + 2 and shown.count == 15
    assert shown.content == {"drive": read_cousins(data).content}
    both = joined(shown.shown)
    assert both.count == 15
    observation, action = both.take(jnp.arange(15))
    # The newest frame is the row's own, the one before it the row's before it, or itself where the cousin begins.
    newest, before = np.asarray(observation.frames)[:, :, 0, 0, 0, 0].T
    number = np.asarray(observation.navigation)[:, 0] % 100
    np.testing.assert_array_equal(newest, number)
    np.testing.assert_array_equal(before, np.where(number % 10 == 0, number, number - 1))
    np.testing.assert_array_equal(action[:, 0] - number, np.repeat([0, 1], [12, 3]))
    assert (np.asarray(observation.navigation)[12:] >= 100).all()


def test_the_blind_see_nothing(data):
    (shown,) = show_cousins((data,), worlds(), (8, 4), 1, "cousin", blind=True).shown
    assert not np.asarray(shown.frames).any() and np.asarray(shown.action).any()


def test_unfit_ones_are_refused(data, tmp_path):
    with pytest.raises(StaleCousinsError, match="the data set is stale"):
        show_cousins((data,), worlds({"drive": "b" * 64}), (8, 4), 1, "cousin")
    with pytest.raises(RunError, match="drive is kept for validation"):
        show_cousins((data,), worlds(validation="drive"), (8, 4), 1, "cousin")
    with pytest.raises(RunError, match="8x4 pixels; the policy has one of 16x12: make them with --width 16"):
        show_cousins((data,), worlds(), (16, 12), 1, "cousin")
    with pytest.raises(RunError, match="named before"):
        show_cousins((data, data), worlds(), (8, 4), 1, "cousin")
    coarse = tmp_path / "coarse"
    write_cousins(coarse, Source("drive", "a" * 64, {}), planned(), lambda index: rows(index, 3), progress=False)
    with pytest.raises(RunError, match="every 3th step is there, and the policy remembers 2 in a row"):
        show_cousins((coarse,), worlds(), (8, 4), 2, "cousin")
    lost = tmp_path / "lost"
    without = {"recovery_valid": np.zeros(ROWS, bool)}
    write_cousins(lost, Source("drive", "a" * 64, {}), planned(), lambda index: rows(index) | without, progress=False)
    with pytest.raises(RunError, match="no row has labels of the kind 'recovery'"):
        show_cousins((lost,), worlds(), (8, 4), 1, "recovery")


def test_rows_of_other_shapes_are_not_joined(data):
    one, other = (prepare(read_cousins(data).demonstrations, history) for history in (1, 2))
    with pytest.raises(agents.DemonstrationError, match="differ in shape"):
        joined([one, other])


@pytest.mark.torture
def test_the_command_learns_from_cousins_of_a_fitted_street(tmp_path):
    """From a street's recording to a policy; once the street is fitted again, its cousins are stale."""
    seed = FIRST["train"]
    log = street.record(street.generate(TINY_STREET, seed), progress=False)
    scene, place = initialise(log, collect_views(log), InitialiseConfig(capacity=500)), tmp_path / "streets"
    save_street(log, scene, {"seed": seed}, place / f"street-{seed}")
    (place / "run.json").write_text(json.dumps({"street": dataclasses.asdict(TINY_STREET)}))
    making = cousins.MakeCousins(
        (f"street:{seed}",), tmp_path / "cousins", streets=place, families=("offset", "stop"), per_family=2, rounds=2,
        seconds=2.0, stride=1, width=16, height=12,
    )  # fmt: skip
    report = cousins.main(making)[f"street:{seed}"]
    assert report["scene"] == read_streets(place, "train")[0].content
    folder = making.out / f"cousin-{report['log']}"
    config = imitate.Imitate(tmp_path / "il", place, (folder,), "both", "tiny")
    metrics = imitate.main(config)
    assert metrics["rows_of_cousins"] > report["rows"] and metrics["rows"] > metrics["rows_of_cousins"]
    assert np.isfinite(metrics["validation_loss"])
    alone = imitate.main(dataclasses.replace(config, out=tmp_path / "alone", cousins=()))
    assert alone["rows"] == metrics["rows"] - metrics["rows_of_cousins"] and alone["rows_of_cousins"] == 0
    brighter = dataclasses.replace(scene, sky=scene.sky + 0.1)
    save_street(log, brighter, {"seed": seed}, place / "again")
    (place / f"street-{seed}").rename(tmp_path / "before")
    (place / "again").rename(place / f"street-{seed}")
    with pytest.raises(StaleCousinsError, match="the data set is stale"):
        imitate.main(dataclasses.replace(config, out=tmp_path / "stale"))

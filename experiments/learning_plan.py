"""The tasks that lead from streets that are not fitted yet to the scoreboard, and what each of them needs."""

import dataclasses
import pathlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import evaluate
import fit_streets
import imitate
import train_ppo
from fitted_streets import Part
from side_tasks import Task
from training_presets import PRESETS

FIT, LEARN, SCORE = "fit", "learn", "score"
PARTS: tuple[Part, ...] = ("train", "test")
KINDS: tuple[evaluate.Kind, ...] = ("corner_cases", "log_replay", "unseen_behaviours")
STREETS, RUNS, BOARDS = "streets", "runs", "scoreboard"
SHARES = 16  # into which the streets of a part are divided
FEW = 6  # a training that is cut short takes the sixth part
FROZEN = pathlib.Path(__file__).parents[1] / "benchmarks" / "sets"
FILMED = ("IL", "IL + PPO")

Scale = Literal["tiny", "cpu", "full"]
CASES: dict[Scale, int] = {"tiny": 12, "cpu": 500, "full": 10_000}
TINY_STREETS = 1  # of each part
AMOUNTS: dict[Scale, dict[str, Any]] = {
    "tiny": {"preset": "small", "clips": 2, "moments": 3, "resamples": 50, "films": ()},
    "cpu": {"preset": "small", "films": FILMED},
    "full": {"preset": "full", "films": FILMED},
}


@dataclasses.dataclass(frozen=True)
class Learned:
    """A policy of the scoreboard.

    Attributes:
        name: on the scoreboard; those of one name differ in their seed.
        folder: of its run.
        seed: of its training.
        start: folder of the run whose policy PPO improves; None: it imitates.
        changes: of the command that trains it.
    """

    name: str
    folder: str
    seed: int = 0
    start: str | None = None
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def blind(self) -> bool:
        """Whether it sees black frames."""
        return bool(self.changes.get("blind"))


def learned(scale: Scale) -> tuple[Learned, ...]:
    """All policies of the scoreboard, the most important first, each after the one that it starts from.

    Beside those that matter there are some that drive otherwise or worse, by which the order of policies in splats and
    in reality is compared.
    """
    preset = PRESETS[scale]
    few_epochs, few_updates = (max(1, whole // FEW) for whole in (preset.imitation_epochs, preset.ppo.updates))
    cases: dict[str, Any] = {"corner_cases": CASES[scale]}
    return (
        Learned("IL", "il-0"),
        Learned("IL", "il-1", seed=1),
        Learned("IL + PPO", "ppo-0", start="il-0", changes=cases),
        Learned("IL + PPO", "ppo-1", seed=1, start="il-1", changes=cases),
        Learned("blind IL", "blind-il-0", changes={"blind": True}),
        Learned("blind IL + PPO", "blind-ppo-0", start="blind-il-0", changes={**cases, "blind": True}),
        Learned("IL + PPO without corner cases", "plain-0", start="il-0"),
        Learned("IL + short PPO", "short-0", start="il-0", changes={**cases, "updates": few_updates}),
        Learned("short IL", "early-0", changes={"imitation_epochs": few_epochs}),
        Learned("IL from four frames", "history-0", changes={"history": 4}),
        Learned("IL + PPO from four frames", "history-ppo-0", start="history-0", changes=cases),
    )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is learned and scored, and where.

    Attributes:
        out: folder of everything.
        scale: how much of everything.
        scenarios: folder of Waymo motion scenarios, for a board of their own; None makes none.
        drives: recorded drives with what `reconstruct.py` made of them, each `RECORDING:REBUILT`, likewise.
    """

    out: pathlib.Path
    scale: Scale
    scenarios: pathlib.Path | None = None
    drives: tuple[str, ...] = ()

    @property
    def streets(self) -> pathlib.Path:
        """Folder of the fitted streets."""
        return self.out / STREETS

    def run_of(self, folder: str) -> pathlib.Path:
        """Folder of a policy's run."""
        return self.out / RUNS / folder

    def board(self, name: str) -> pathlib.Path:
        """Folder of a scoreboard."""
        return self.out / BOARDS / name

    def fitting(self, part: Part, number: int) -> fit_streets.FitStreets:
        """The command for one share of the streets of a part."""
        most = TINY_STREETS if self.scale == "tiny" else None
        counts = {name: most if name == part else 0 for name in PARTS}
        return fit_streets.FitStreets(out=self.streets, scale=self.scale, share=(number, SHARES), **counts)

    def learning(self, one: Learned) -> imitate.Imitate | train_ppo.TrainPPO:
        """The command that trains a policy."""
        out, changes = self.run_of(one.folder), one.changes
        if one.start is None:
            return imitate.Imitate(out=out, streets=self.streets, preset=self.scale, seed=one.seed, **changes)
        start = self.run_of(one.start) / "policy"
        return train_ppo.TrainPPO(
            out=out, streets=self.streets, policy=start, preset=self.scale, seed=one.seed, **changes
        )

    def scoring(self, name: str) -> evaluate.Evaluate:
        """The command of a scoreboard: of a kind of clips in the streets, or in real drives."""
        policies = learned(self.scale)
        sighted, blind = (
            tuple(f"{one.name}={self.run_of(one.folder) / 'policy'}" for one in policies if one.blind == wanted)
            for wanted in (False, True)
        )
        given = {"out": self.board(name), "policy": sighted, "blind": blind, **AMOUNTS[self.scale]}
        if name not in KINDS:
            return evaluate.Evaluate(**given, scenarios=self.scenarios, drive=self.drives)
        return evaluate.Evaluate(
            **given, streets=self.streets, kind=name, sets=FROZEN if self.scale == "full" else None
        )

    @property
    def boards(self) -> tuple[str, ...]:
        """Names of all scoreboards."""
        return (*KINDS, "drives") if self.scenarios is not None or self.drives else KINDS

    def tasks(self) -> list[Task]:
        """All of them, the most important first."""
        fits = {part: self._fits(part) for part in PARTS}
        trained_in = _names(fits["train"])
        learning = [self._learn(one, trained_in) for one in learned(self.scale)]
        everything = (*_names(fits["test"]), *_names(learning))
        scoring = [self._score(name, everything) for name in self.boards]
        # Who can train leaves the streets to test in to others.
        return [*fits["train"], *learning, *fits["test"], *scoring]

    def _fits(self, part: Part) -> list[Task]:
        configs = {f"fit-{part}-{number}": self.fitting(part, number) for number in range(SHARES)}
        return [
            Task(name, partial(fit_streets.main, config), partial(_all_there, self._places(config)), kind=FIT)
            for name, config in configs.items()
            if config.seeds
        ]

    def _places(self, config: fit_streets.FitStreets) -> list[pathlib.Path]:
        return [self.streets / f"street-{seed}" for seed in config.seeds]

    def _learn(self, one: Learned, fits: tuple[str, ...]) -> Task:
        config = self.learning(one)
        run = partial(imitate.main if isinstance(config, imitate.Imitate) else train_ppo.main, config)
        needs = fits if one.start is None else (*fits, one.start)
        return Task(one.folder, run, partial(_all_there, [config.out / "metrics.json"]), needs, LEARN)

    def _score(self, name: str, needs: tuple[str, ...]) -> Task:
        config = self.scoring(name)
        written = [config.out / "scoreboard.json"]
        return Task(f"score-{name}", partial(evaluate.main, config), partial(_all_there, written), needs, SCORE)


def _names(tasks: Sequence[Task]) -> tuple[str, ...]:
    return tuple(task.name for task in tasks)


def _all_there(paths: Sequence[pathlib.Path]) -> bool:
    return all(path.exists() for path in paths)

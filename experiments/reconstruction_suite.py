"""The reconstruction's rows: real drives and procedural streets rebuilt, on and beside their paths, beside gsplat."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from benchmark_rows import BenchmarkError, make_row
from benchmark_suite import Row, Skipped, Suite
from gsplat_fit import GsplatFitError
from image_quality import perceptual_weights, quality
from policy_form import DISTIL, judge_policy_form, make_policy_form
from reconstruct_presets import Preset, fit_config
from reconstruction_drives import (
    CURVE_FROM,
    Drive,
    Rebuilt,
    brief,
    curve,
    difference,
    least_margin,
    rebuild,
    record_street,
    without,
)
from reconstruction_measures import HELDOUT
from reconstruction_peer import GsplatTrainer, PeerFit, static_pixels
from reconstruction_specs import CAMERA, DATA, KITTI_0005, KITTI_0013, ReconstructionScale, data_folder

from jaxrecon import reconstruct
from jaxrecon.logs import read_log
from jaxrecon.metrics.lpips import LpipsWeights

UNITS = {"psnr": "dB", "psnr_static": "dB", "psnr_actors": "dB", "ssim": "1", "lpips": "1", "seconds": "s"}
ABLATIONS = ("exposure", "actors", "lidar", "poses")


class ReconstructionBench(Suite):
    """Measures rows; what several rows need is made once.

    Args:
        scale: how much of everything.
        peer: trained where a row can be compared; None: no comparison.
        seed: of every random choice.
    """

    lasting = (*Suite.lasting, GsplatFitError, reconstruct.ReconstructionError)

    def __init__(self, scale: ReconstructionScale, peer: GsplatTrainer | None, seed: int = 0):
        super().__init__(scale)
        self.peer, self.seed = peer, seed

    @property
    def measurements(self) -> dict[str, Callable[[], Row]]:
        """What measures each row of the suite, by name; rows that share a fit follow one another."""
        gpu: dict[str, Callable[[str], Row]] = {f"kitti0013_{key}": partial(self._kitti0013, key) for key in UNITS}
        gpu["policy_form_psnr_kitti0013"] = self._policy_form
        gpu |= {f"ablation_no_{part}": partial(self._ablation, part) for part in ABLATIONS}
        gpu["kitti0005_lateral_psnr"] = self._kitti0005
        gpu["kitti0005_lateral_psnr_gain_over_gsplat"] = self._kitti0005_gain
        gpu |= {f"street_{name}_psnr": partial(self._street, name) for name in ("3m", "6m")}
        gpu["street_3m_psnr_gain_over_gsplat"] = partial(self._street_gain, "3m")
        cpu = {f"cpu_street_{key}": partial(self._cpu_street, key) for key in ("psnr", "seconds")}
        rows = {name: partial(self._row, name, "gpu", make) for name, make in gpu.items()}
        return rows | {name: partial(self._row, name, "cpu", make) for name, make in cpu.items()}

    def _kitti(self, name: str, preset: Preset, beside: bool) -> Drive:
        folder = data_folder() / name
        if not folder.is_dir():
            raise Skipped(f"there is no {folder}; put the drive there or set {DATA} to the folder that holds it")
        log = self._once(f"log {name}", lambda: read_log(folder))
        return Drive(log, log.camera(CAMERA), fit_config(preset, log, 1, recorded=True), beside=beside)

    def _weights(self) -> LpipsWeights | None:
        return self._once("weights", perceptual_weights)

    def _rebuild(self, name: str, drive: Drive) -> Rebuilt:
        return self._once(f"fit {name}", lambda: rebuild(drive, self.seed, self._weights()))

    def _require_peer(self) -> GsplatTrainer:
        if self.peer is None:
            raise Skipped("it compares with gsplat; pass --peer gsplat")
        return self.peer

    def _train_peer(self, name: str, rebuilt: Rebuilt) -> PeerFit:
        """The peer on the same drive, once.

        Raises:
            GsplatFitError: it could not answer.
        """
        peer, drive = self._require_peer(), rebuilt.drive
        about = drive.log, drive.camera, rebuilt.result, drive.config, rebuilt.truths
        return self._once(f"peer {name}", lambda: peer.fit(*about, self._weights()))

    def _beside_peer(self, name: str, rebuilt: Rebuilt, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Optional keys and quality of a row of held-out views; a peer that fails costs no row."""
        if self.peer is None:
            return {}, {}
        try:
            peer = self._train_peer(name, rebuilt)
        except GsplatFitError as error:
            print(f"  {error}", flush=True)
            return {}, {"gsplat_error": str(error)}
        compared = {"peer_name": peer.name, "peer_value": {**peer.heldout, "seconds": peer.notes["seconds"]}[key]}
        if key != "psnr":
            return compared, {}
        margin = least_margin(curve(rebuilt.figures), peer.curve)
        notes = {**peer.heldout, "curve": peer.curve, **peer.notes}
        return compared, {f"least_margin_from_{CURVE_FROM:g}_s": margin, "gsplat": notes}

    def _kitti0013(self, key: str, name: str) -> Row:
        rebuilt = self._full_kitti0013()
        figures = rebuilt.figures
        value = figures["seconds"] if key == "seconds" else figures["heldout"][key]
        if value is None:
            raise Skipped(f"{key} could not be measured")
        compared, beside = self._beside_peer("kitti0013", rebuilt, key)
        if key == "psnr":
            beside = {"curve": curve(figures), **beside}
        return make_row(name, value, UNITS[key], {**brief(figures), **beside}, **compared)

    def _full_kitti0013(self) -> Rebuilt:
        return self._rebuild("kitti0013", self._kitti(KITTI_0013, self.scale.kitti0013, beside=False))

    def _policy_form(self, name: str) -> Row:
        rebuilt = self._full_kitti0013()
        log = rebuilt.drive.log
        config = DISTIL["tiny" if self.scale.name == "tiny" else "gpu"]
        form = make_policy_form(rebuilt.result, log, CAMERA, config, jax.random.key(self.seed))
        figures = judge_policy_form(form, rebuilt.result, log, CAMERA, np.arange(log.frames), exact=True)
        return make_row(name, figures.pop("psnr"), "dB", figures)

    def _ablation(self, part: str, name: str) -> Row:
        """What the fit loses without a part of it: negative where the part helps."""
        full = self._full_kitti0013()
        drive = without(part, full.drive)
        result = rebuild(drive, self.seed, None).result  # no other row needs it
        assert result.heldout is not None
        # Boxes bound what is static even where the fit knows of none.
        static = static_pixels(full.drive.log, result.views)[result.heldout.view]
        figures = quality(result.heldout.rendered, result.heldout.recorded, static, self._weights())
        whole = full.figures["heldout"]
        differences = {f"{key}_difference": difference(figures[key], whole[key]) for key in HELDOUT}
        report = {"seconds": result.report.seconds, "steps": result.report.steps}
        return make_row(name, differences.pop("psnr_difference"), "dB", {**figures, **differences, **report})

    def _kitti0005(self, name: str) -> Row:
        rebuilt = self._rebuild("kitti0005", self._kitti(KITTI_0005, self.scale.kitti0005, beside=True))
        truth = self._beside_kitti0005(rebuilt)
        lateral = rebuilt.figures["lateral"][truth]
        return make_row(name, lateral["psnr"], "dB", {"camera": truth, **lateral, "on_path": brief(rebuilt.figures)})

    def _kitti0005_gain(self, name: str) -> Row:
        self._require_peer()
        rebuilt = self._rebuild("kitti0005", self._kitti(KITTI_0005, self.scale.kitti0005, beside=True))
        return self._gain(name, [("kitti0005", rebuilt)], self._beside_kitti0005(rebuilt))

    def _beside_kitti0005(self, rebuilt: Rebuilt) -> str:
        if not rebuilt.truths:
            raise Skipped(f"{rebuilt.drive.log.name} has no second camera beside {CAMERA}")
        return rebuilt.truths[0].name

    def _streets(self) -> list[tuple[str, Rebuilt]]:
        return [self._rebuilt_street(seed) for seed in self.scale.seeds]

    def _rebuilt_street(self, seed: int) -> tuple[str, Rebuilt]:
        name, preset = f"street {seed}", self.scale.street
        return name, self._rebuild(name, self._once(f"drive {name}", lambda: record_street(preset, seed)))

    def _street(self, truth: str, name: str) -> Row:
        lateral = {label: _lateral(rebuilt, truth) for label, rebuilt in self._streets()}
        values = [figures["psnr"] for figures in lateral.values()]
        on_path = {label: brief(rebuilt.figures) for label, rebuilt in self._streets()}
        spread = {"low": min(values), "high": max(values)}
        return make_row(name, float(np.mean(values)), "dB", {**lateral, "on_path": on_path}, **spread)

    def _street_gain(self, truth: str, name: str) -> Row:
        self._require_peer()
        return self._gain(name, self._streets(), truth)

    def _gain(self, name: str, drives: list[tuple[str, Rebuilt]], truth: str) -> Row:
        """How much closer to the truth this is than the peer, decibels: mean over drives."""
        ours, theirs, beside = [], [], {}
        for label, rebuilt in drives:
            try:
                peer = self._train_peer(label, rebuilt)
            except GsplatFitError as error:
                raise BenchmarkError(str(error)) from error
            here, there = _lateral(rebuilt, truth), peer.lateral[truth]
            ours.append(here["psnr"])
            theirs.append(there["psnr"])
            beside[label] = {
                "psnr": here["psnr"],
                **{f"{key}_gain": difference(here[key], there[key]) for key in ("ssim", "psnr_colour_fitted")},
                "gsplat": {**there, "on_path": peer.heldout, **peer.notes},
            }
        gains = np.subtract(ours, theirs)
        spread = {"low": float(gains.min()), "high": float(gains.max())} if len(drives) > 1 else {}
        peers = {"peer_name": peer.name, "peer_value": float(np.mean(theirs))}
        return make_row(name, float(gains.mean()), "dB", beside, **peers, **spread)

    def _cpu_street(self, key: str, name: str) -> Row:
        preset = self.scale.cpu_street
        drive = self._once("drive demo", lambda: dataclasses.replace(record_street(preset, 0), beside=False))
        figures = self._rebuild("demo", drive).figures
        value = figures["seconds"] if key == "seconds" else figures["heldout"][key]
        return make_row(name, value, UNITS[key], brief(figures))


def _lateral(rebuilt: Rebuilt, truth: str) -> dict[str, Any]:
    if truth not in rebuilt.figures["lateral"]:
        raise Skipped(f"{rebuilt.drive.log.name} has no view {truth} beside its path that is free")
    return rebuilt.figures["lateral"][truth]

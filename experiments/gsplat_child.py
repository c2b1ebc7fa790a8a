"""The child process of `gsplat_peer`: draws with gsplat 1.5.3 and times it.

    python experiments/gsplat_child.py < questions

Neither torch nor gsplat is a dependency of this project, so both are looked up by name.
"""

import dataclasses
import gc
import importlib
import json
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from benchmark_timing import Timing, measure

PARAMETERS = ("means", "quaternions", "scales", "opacities", "colours")
CHANNELS = 4  # of what gsplat blends: colour and depth
OUT_OF_MEMORY = "out of memory"
LARGEST_INDEX = 2**32  # gsplat indexes what it blends in 32 bits


class NothingFitsError(RuntimeError):
    """No form of a drawing fits the device's memory."""


class Gsplat:
    """gsplat on the device, asked by name of a method."""

    def __init__(self) -> None:
        self.torch: Any = importlib.import_module("torch")
        module: Any = importlib.import_module("gsplat")
        self.rasterization, self.version = module.rasterization, module.__version__

    def tensor(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(array)).cuda()

    def draw(self, splats: tuple, views: tuple, width: int, height: int, packed: bool, mode: str = "classic") -> tuple:
        """Colour with expected depth as a fourth channel, and alpha."""
        means, quaternions, scales, opacities, colours = splats
        viewmats, matrices = views
        images, alphas, _ = self.rasterization(
            means=means,
            quats=quaternions,
            scales=scales,
            opacities=opacities,
            colors=colours,
            viewmats=viewmats,
            Ks=matrices,
            width=width,
            height=height,
            near_plane=0.01,
            far_plane=1e10,
            eps2d=0.3,
            packed=packed,
            render_mode="RGB+ED",
            rasterize_mode=mode,
        )
        return images, alphas

    def wait(self, _: Any) -> None:
        self.torch.cuda.synchronize()

    def release(self) -> None:
        gc.collect()
        self.torch.cuda.empty_cache()

    def fastest(self, forms: dict[str, Callable[[int], Any]], repeats: int, inputs: int) -> tuple[Timing, dict]:
        """Time every form that fits the memory and answer the fastest.

        Raises:
            NothingFitsError: if none fits.
        """
        times: dict[str, Timing] = {}
        notes: dict[str, Any] = {}
        for name, call in forms.items():
            self.release()
            self.torch.cuda.reset_peak_memory_stats()
            try:
                times[name] = measure(call, self.wait, repeats, inputs)
                peak = self.torch.cuda.max_memory_allocated() / 2**30
                notes[name] = {"ms": times[name].median, "peak_gib": peak}
            except self.torch.cuda.OutOfMemoryError:
                notes[name] = OUT_OF_MEMORY
        self.release()
        if not times:
            raise NothingFitsError(f"no form fits the memory: {notes}")
        best = min(times, key=lambda name: times[name].median)
        return times[best], {"form": best, "peak_gib": notes[best]["peak_gib"], "forms": notes}

    def views(self, arrays: dict[str, np.ndarray]) -> list[tuple[Any, Any]]:
        return [
            (self.tensor(poses), self.tensor(matrices))
            for poses, matrices in zip(arrays["viewmats"], arrays["matrices"], strict=True)
        ]

    def images(self, arrays: dict, width: int, height: int, shown: int, repeats: int) -> tuple[Timing, dict, dict]:
        """Draw sets of cameras that share the splats.

        Args:
            arrays: the splats; viewmats [set, camera, 4, 4]; matrices [set, camera, 3, 3].
            width: pixels.
            height: pixels.
            shown: cameras of the first set whose images are answered.
            repeats: timed samples.
        """
        splats = tuple(self.tensor(arrays[name]) for name in PARAMETERS)
        sets = self.views(arrays)
        cameras, count = arrays["viewmats"].shape[1], len(arrays["means"])

        def form(packed: bool, step: int) -> Callable[[int], Any]:
            def call(number: int) -> list:
                viewmats, matrices = sets[number % len(sets)]
                return [
                    self.draw(splats, (viewmats[i : i + step], matrices[i : i + step]), width, height, packed)
                    for i in range(0, cameras, step)
                ]

            return call

        too_large: dict[str, Any] = {}
        with self.torch.no_grad():
            for step in _halves(cameras):
                forms = {f"packed, {step} cameras a call": form(True, step)}
                if step * count * CHANNELS < LARGEST_INDEX:
                    forms[f"not packed, {step} cameras a call"] = form(False, step)
                try:
                    timing, notes = self.fastest(forms, repeats, len(sets))
                    notes["forms"] = {**too_large, **notes["forms"]}
                    break
                except NothingFitsError:
                    if step == 1:
                        raise
                    too_large |= dict.fromkeys(forms, OUT_OF_MEMORY)
            first = tuple(leaf[:shown] for leaf in sets[0])
            images = _images(*self.draw(splats, first, width, height, True))
            antialiased = _images(*self.draw(splats, first, width, height, True, "antialiased"))
        images |= {f"antialiased_{name}": image for name, image in antialiased.items()}
        return timing, notes, images

    def gradient(self, arrays: dict, width: int, height: int, shown: int, repeats: int) -> tuple[Timing, dict, dict]:
        """Gradient of a weighted sum of colour, expected depth and alpha in all splat parameters.

        Args:
            arrays: as for ``images``; weights [camera, height, width, 5] of colour, depth, alpha.
            width: pixels.
            height: pixels.
            shown: cameras of the first set whose images are answered.
            repeats: timed samples.
        """
        torch = self.torch
        splats = tuple(self.tensor(arrays[name]).requires_grad_(True) for name in PARAMETERS)
        sets, weights = self.views(arrays), self.tensor(arrays["weights"])

        def form(packed: bool) -> Callable[[int], Any]:
            def call(number: int) -> tuple:
                images, alphas = self.draw(splats, sets[number % len(sets)], width, height, packed)
                loss = (images * weights[..., :4]).sum() + (alphas * weights[..., 4:]).sum()
                return torch.autograd.grad(loss, splats)

            return call

        forms = {"packed": form(True), "not packed": form(False)}
        timing, notes = self.fastest(forms, repeats, len(sets))
        gradients = forms[notes["form"]](0)
        with torch.no_grad():
            first = tuple(leaf[:shown] for leaf in sets[0])
            answer = _images(*self.draw(splats, first, width, height, True))
        for name, leaf in zip(PARAMETERS, gradients, strict=True):
            answer[f"d_{name}"] = leaf.cpu().numpy()
        return timing, notes, answer

    def own_splats(
        self, arrays: dict, width: int, height: int, shown: int, repeats: int, antialiased: bool
    ) -> tuple[Timing, dict, dict]:
        """Draw cameras that each have their own splats, as batches of gsplat's: a scene and a camera each.

        Cameras of about as many splats share a call, so that little is padded, and everything is laid out beforehand.

        Args:
            arrays: as for ``images``, one set; slots [camera, most]: each camera's splats, -1 where it has no more.
            width: pixels.
            height: pixels.
            shown: first cameras whose images are answered.
            repeats: timed samples.
            antialiased: whether opacities are scaled against the blur.
        """
        splats = tuple(self.tensor(arrays[name]) for name in PARAMETERS)
        (views,) = self.views(arrays)
        slots = arrays["slots"]
        order = np.argsort((slots >= 0).sum(axis=1), kind="stable")

        # Packed projection of a batch reads the first scene's opacities for all of them in 1.5.3: its images are wrong.
        def draw(batch: tuple[tuple, tuple]) -> tuple:
            mode = "antialiased" if antialiased else "classic"
            return self.draw(*batch, width, height, packed=False, mode=mode)

        def form(step: int) -> Callable[[int], Any]:
            batches: list[tuple[tuple, tuple]] = []

            def call(_: int) -> list:
                # Laid out by the first call, which only warms up.
                if not batches:
                    chunks = (order[i : i + step] for i in range(0, len(order), step))
                    batches.extend(self._batch(splats, views, slots[chunk], chunk) for chunk in chunks)
                return [draw(batch) for batch in batches]

            return call

        with self.torch.no_grad():
            forms = {f"{step} cameras a call": form(step) for step in _halves(len(slots), 4, 16)}
            best: tuple[Timing, dict] | None = None
            everything: dict[str, Any] = {}
            for name in list(forms):
                # One at a time: each keeps a layout of its own in memory.
                try:
                    timing, notes = self.fastest({name: forms.pop(name)}, repeats, 1)
                except NothingFitsError:
                    everything[name] = OUT_OF_MEMORY
                    continue
                everything |= notes["forms"]
                if best is None or timing.median < best[0].median:
                    best = timing, notes
            if best is None:
                raise NothingFitsError(f"no form fits the memory: {everything}")
            first = np.arange(min(shown, len(slots)))
            images, alphas = draw(self._batch(splats, views, slots[first], first))
        timing, notes = best
        return timing, {**notes, "forms": everything}, _images(images[:, 0], alphas[:, 0])

    def _batch(self, splats: tuple, views: tuple, slots: np.ndarray, cameras: np.ndarray) -> tuple[tuple, tuple]:
        """Each camera's own splats, padded with invisible ones."""
        most = max(1, int((slots >= 0).sum(axis=1).max()))
        index = self.tensor(slots[:, :most].astype(np.int64))
        own = [leaf[index.clamp(min=0)] for leaf in splats]
        own[3] = own[3] * (index >= 0)
        chosen = self.tensor(cameras.astype(np.int64))
        return tuple(own), tuple(leaf[chosen][:, None].contiguous() for leaf in views)


def _halves(most: int, factor: int = 2, least: int = 1) -> Iterator[int]:
    """The number, and what is left of it after each division, down to the least."""
    step = most
    while True:
        yield step
        if step <= least:
            return
        step = max(least, step // factor)


def _images(images: Any, alphas: Any) -> dict[str, np.ndarray]:
    colour = images.cpu().numpy()
    return {"rgb": colour[..., :3], "depth": colour[..., 3], "alpha": alphas[..., 0].cpu().numpy()}


def serve() -> None:
    """Answer questions, a line each on standard input, until it ends."""
    peer = Gsplat()
    for line in sys.stdin:
        question = pathlib.Path(line.strip())
        options = json.loads(question.with_suffix(".json").read_text(encoding="utf-8"))
        kind = options.pop("kind")
        try:
            with np.load(question.with_suffix(".npz")) as stored:
                arrays = dict(stored)
            timing, notes, answer = getattr(peer, kind)(arrays, **options)
            np.savez(question.with_suffix(".answer.npz"), **answer)
            reply = {"timing": dataclasses.asdict(timing), "notes": notes, "version": peer.version}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        question.with_suffix(".answer.json").write_text(json.dumps(reply), encoding="utf-8")
        peer.release()
        print(f"answered {question}", flush=True)


if __name__ == "__main__":
    serve()

"""The child process of `gsplat_fit`: fits splats to photographs with gsplat 1.5.3, as gsplat's own trainer does.

    python experiments/gsplat_trainer.py FOLDER

What is fitted, and by which rates, is the preset `mcmc` of gsplat 1.5.3's `examples/simple_trainer.py`, its steps
scaled as by `--steps_scaler`. Photographs lie in the device's memory, where that program loads them from files.
Neither torch nor gsplat is a dependency of this project, so both are looked up by name.
"""

import importlib
import importlib.util
import json
import pathlib
import random
import sys
import time
import traceback
from typing import Any

import numpy as np

torch: Any = importlib.import_module("torch")
gsplat: Any = importlib.import_module("gsplat")

VERSION = "1.5.3"
STEPS = 30_000  # of the preset; fewer or more scale what counts steps
REFINE_FROM, REFINE_UNTIL, REFINE_EVERY, DEGREE_EVERY = 500, 25_000, 100, 1000  # steps
MEANS_DECAY = 0.01  # of the rate of means, over all steps
RATES = {"scales": 5e-3, "quats": 1e-3, "opacities": 5e-2, "sh0": 2.5e-3, "shN": 2.5e-3 / 20}
MEANS_RATE, NOISE_RATE = 1.6e-4, 5e5  # the first times the scene's scale
SSIM_WEIGHT, OPACITY_WEIGHT, SCALE_WEIGHT = 0.2, 0.01, 0.01
FIRST_OPACITY, FIRST_SCALE, NEIGHBOURS = 0.5, 0.1, 3
NEAR, FAR = 0.01, 1e10
SH_C0 = 0.28209479177387814
WINDOW, SIGMA, C1, C2 = 11, 1.5, 0.01**2, 0.03**2  # of structural similarity
DISTANCES_AT_ONCE = 2**28
REPORTS = 10  # progress lines


def spacings(points: Any) -> Any:
    """Root mean square distance of each point [point, 3] to its three neighbours [point]."""
    rows = max(1, DISTANCES_AT_ONCE // len(points))
    squares = []
    for some in points.split(rows):
        # Axis by axis: through a matrix product, as `torch.cdist` may, what is small would be lost.
        squared = sum((some[:, None, axis] - points[None, :, axis]).square_() for axis in range(3))
        nearest = torch.topk(squared, NEIGHBOURS + 1, dim=1, largest=False).values[:, 1:]
        squares.append(nearest.mean(dim=1))
    return torch.cat(squares).clamp(min=1e-12).sqrt()  # doubled points would have no size at all


def first_splats(points: Any, colours: Any, degree: int) -> Any:
    """Parameters of a splat at each point [point, 3] with its colour in [0, 1] [point, 3]."""
    count = len(points)
    harmonics = torch.zeros((count, (degree + 1) ** 2, 3), device=points.device)
    harmonics[:, 0] = (colours - 0.5) / SH_C0
    leaves = {
        "means": points,
        "scales": torch.log(spacings(points) * FIRST_SCALE)[:, None].repeat(1, 3),
        "quats": torch.rand((count, 4)).to(points.device),
        "opacities": torch.logit(torch.full((count,), FIRST_OPACITY, device=points.device)),
        "sh0": harmonics[:, :1].clone(),
        "shN": harmonics[:, 1:].clone(),
    }
    return torch.nn.ParameterDict({name: torch.nn.Parameter(leaf) for name, leaf in leaves.items()})


def similarity(image: Any, reference: Any) -> Any:
    """Mean structural similarity over channels and whole windows of images [1, 3, height, width] in [0, 1]."""
    steps = torch.arange(WINDOW, device=image.device, dtype=image.dtype) - WINDOW // 2
    taps = torch.exp(-0.5 * (steps / SIGMA) ** 2)
    taps = taps / taps.sum()

    def blur(*maps: Any) -> Any:
        stack = torch.cat(maps, dim=1)
        kernel = taps.repeat(stack.shape[1], 1, 1, 1)
        stack = torch.nn.functional.conv2d(stack, kernel, groups=len(kernel))
        return torch.nn.functional.conv2d(stack, kernel.transpose(2, 3), groups=len(kernel)).split(3, dim=1)

    with torch.no_grad():
        mean_y, square_y = blur(reference, reference**2)
    mean_x, square_x, product = blur(image, image**2, image * reference)
    covariance, variances = product - mean_x * mean_y, square_x - mean_x**2 + square_y - mean_y**2
    numerator = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return (numerator / ((mean_x**2 + mean_y**2 + C1) * (variances + C2))).mean()


class Clock:
    """Seconds of training alone: it stands while anything else is done."""

    def __init__(self, device: str) -> None:
        self._device, self._spent, self._began = device, 0.0, None

    def start(self) -> None:
        self._wait()
        self._began = time.perf_counter()

    def stop(self) -> None:
        self._wait()
        self._spent, self._began = self.read(), None

    def read(self) -> float:
        return self._spent + (0.0 if self._began is None else time.perf_counter() - self._began)

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()


class Trainer:
    """Splats that are fitted to some views and scored on others.

    Args:
        arrays: images [view, height, width, 3] uint8; views, novel: camera from world [camera, 4, 4]; matrix,
            novel_matrix: pinhole [3, 3]; training, heldout: indices of views; points, colours in [0, 1] [point, 3];
            masks [heldout, height, width] bool, or none.
        options: steps, seconds, sh_degree, cap_max, seed, curve_seconds, scene_scale, device.
    """

    def __init__(self, arrays: dict[str, np.ndarray], options: dict[str, Any]) -> None:
        self.options, self.device, self.steps = options, options["device"], options["steps"]
        random.seed(options["seed"])
        np.random.seed(options["seed"])  # noqa: NPY002  what gsplat itself draws from
        torch.manual_seed(options["seed"])
        torch.backends.cudnn.allow_tf32 = False  # variances would drown in its rounding
        self.images = self._tensor(arrays["images"])
        self.views, self.novel = self._tensor(arrays["views"]), self._tensor(arrays["novel"])
        self.matrix, self.novel_matrix = self._tensor(arrays["matrix"]), self._tensor(arrays["novel_matrix"])
        self.training, self.heldout = arrays["training"].tolist(), arrays["heldout"].tolist()
        self.masks = self._tensor(arrays["masks"]) if "masks" in arrays else None
        self.queue: list[int] = []
        self.splats = first_splats(
            self._tensor(arrays["points"]), self._tensor(arrays["colours"]), options["sh_degree"]
        )
        rates = {"means": MEANS_RATE * options["scene_scale"]} | RATES
        self.optimizers = {
            name: torch.optim.Adam([{"params": leaf, "lr": rates[name], "name": name}], eps=1e-15, betas=(0.9, 0.999))
            for name, leaf in self.splats.items()
        }
        decay = MEANS_DECAY ** (1.0 / self.steps)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizers["means"], gamma=decay)
        self.strategy = gsplat.MCMCStrategy(
            cap_max=options["cap_max"],
            noise_lr=NOISE_RATE,
            refine_start_iter=self.scaled(REFINE_FROM),
            refine_stop_iter=self.scaled(REFINE_UNTIL),
            refine_every=self.scaled(REFINE_EVERY),
        )
        self.strategy.check_sanity(self.splats, self.optimizers)
        self.state = self.strategy.initialize_state()
        fused = importlib.util.find_spec("fused_ssim") is not None
        self.fused = importlib.import_module("fused_ssim").fused_ssim if fused else None

    def scaled(self, steps: int) -> int:
        """Steps of the preset in this run."""
        return max(1, int(steps * (self.steps / STEPS)))

    def _tensor(self, array: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def draw(self, view: Any, matrix: Any, degree: int) -> tuple[Any, dict]:
        """Colours [1, height, width, 3] over black, and what the strategy may ask for."""
        splats = self.splats
        height, width = self.images.shape[1:3]
        colours, _, info = gsplat.rasterization(
            means=splats["means"],
            quats=splats["quats"],
            scales=torch.exp(splats["scales"]),
            opacities=torch.sigmoid(splats["opacities"]),
            colors=torch.cat([splats["sh0"], splats["shN"]], 1),
            viewmats=view[None],
            Ks=matrix[None],
            width=width,
            height=height,
            near_plane=NEAR,
            far_plane=FAR,
            sh_degree=degree,
            packed=False,
            render_mode="RGB",
            rasterize_mode="classic",
        )
        return colours, info

    def loss(self, index: int, degree: int) -> tuple[Any, dict]:
        """What a step descends, for a training view."""
        colours, info = self.draw(self.views[index], self.matrix, degree)
        pixels = self.images[index][None] / 255.0
        drawn, true = colours.permute(0, 3, 1, 2), pixels.permute(0, 3, 1, 2)
        alike = similarity(drawn, true) if self.fused is None else self.fused(drawn, true, padding="valid")
        loss = (1.0 - SSIM_WEIGHT) * torch.nn.functional.l1_loss(colours, pixels) + SSIM_WEIGHT * (1.0 - alike)
        loss = loss + OPACITY_WEIGHT * torch.sigmoid(self.splats["opacities"]).mean()
        return loss + SCALE_WEIGHT * torch.exp(self.splats["scales"]).mean(), info

    def update(self, step: int) -> Any:
        """One step of training; its loss, on the device."""
        if not self.queue:
            self.queue = [self.training[i] for i in torch.randperm(len(self.training)).tolist()]
        degree = min(step // self.scaled(DEGREE_EVERY), self.options["sh_degree"])
        loss, info = self.loss(self.queue.pop(), degree)
        asked = {"params": self.splats, "optimizers": self.optimizers, "state": self.state, "step": step, "info": info}
        self.strategy.step_pre_backward(**asked)
        loss.backward()
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.strategy.step_post_backward(**asked, lr=self.schedule.get_last_lr()[0])
        return loss.detach()

    def warm_up(self) -> None:
        """Have everything compiled and loaded that a step needs, without changing anything."""
        for _ in range(3):
            loss, _ = self.loss(self.training[0], self.options["sh_degree"])
            torch.autograd.grad(loss, list(self.splats.values()))

    def train(self) -> tuple[list[dict], int, float]:
        """All steps, or as many as fit the seconds; the curve, the number of steps and the seconds."""
        clock, curve, marks = Clock(self.device), [], sorted(self.options["curve_seconds"])
        limit, every, done = self.options["seconds"], max(1, self.steps // REPORTS), 0

        def note() -> None:
            psnr = float(np.mean(self.score()["psnr"]))
            curve.append({"seconds": clock.read(), "step": done, "splats": len(self.splats["means"]), "psnr": psnr})
            print(f"{clock.read():.1f} s, step {done}: {curve[-1]['splats']} splats, {psnr:.3f} dB", flush=True)

        clock.start()
        while done < self.steps and (limit is None or clock.read() < limit):
            loss = self.update(done)
            done += 1
            if done % every == 0:
                print(f"step {done} of {self.steps}: loss {float(loss):.4f}", flush=True)
            if marks and clock.read() >= marks[0]:
                clock.stop()
                note()
                marks = [mark for mark in marks if mark > clock.read()]
                clock.start()
        clock.stop()
        if not curve or curve[-1]["step"] != done:
            note()
        return curve, done, clock.read()

    def score(self, everything: bool = False) -> dict[str, np.ndarray]:
        """How well held-out views are drawn, and with ``everything`` their images and those of novel cameras."""
        answer: dict[str, list] = {"psnr": [], "psnr_masked": [], "ssim": [], "images": []}
        with torch.no_grad():
            for number, index in enumerate(self.heldout):
                drawn = self.draw(self.views[index], self.matrix, self.options["sh_degree"])[0].clamp(0.0, 1.0)
                true = self.images[index][None] / 255.0
                squared = ((drawn - true) ** 2).mean(dim=-1)
                answer["psnr"].append(-10.0 * torch.log10(squared.mean()))
                if everything and self.masks is not None:
                    answer["psnr_masked"].append(-10.0 * torch.log10(squared[0][self.masks[number]].mean()))
                if everything:
                    answer["ssim"].append(similarity(drawn.permute(0, 3, 1, 2), true.permute(0, 3, 1, 2)))
                    answer["images"].append(_bytes(drawn))
            scores = {name: torch.stack(leaves).cpu().numpy() for name, leaves in answer.items() if leaves}
            if everything:
                scores["novel"] = np.zeros((len(self.novel), *self.images.shape[1:]), np.uint8)
                for image, view in zip(scores["novel"], self.novel, strict=True):
                    drawn, _ = self.draw(view, self.novel_matrix, self.options["sh_degree"])
                    image[:] = _bytes(drawn).cpu().numpy()
        return scores


def _bytes(colours: Any) -> Any:
    """Colours [1, height, width, 3] as bytes [height, width, 3]."""
    return (colours[0].clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


def answer(folder: pathlib.Path) -> dict[str, Any]:
    """Train as the folder says and put arrays beside the question; what else there is to say."""
    if gsplat.__version__ != VERSION:
        raise RuntimeError(
            f"gsplat {VERSION} is needed, {gsplat.__version__} is installed: pip install gsplat=={VERSION}"
        )
    options = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    began = time.perf_counter()
    with np.load(folder / "inputs.npz") as stored:
        trainer = Trainer(dict(stored), options)
    trainer.warm_up()
    prepared = time.perf_counter() - began
    print(f"{len(trainer.splats['means'])} splats after {prepared:.1f} s of preparation", flush=True)
    curve, steps, seconds = trainer.train()
    np.savez(folder / "outputs.npz", **trainer.score(everything=True))
    notes = {"gsplat": gsplat.__version__, "torch": torch.__version__, "preparation_seconds": prepared}
    notes["ssim"] = "torch" if trainer.fused is None else "fused_ssim"
    if options["device"] == "cuda":
        notes |= {"device": torch.cuda.get_device_name(), "peak_gib": torch.cuda.max_memory_allocated() / 2**30}
    splats = len(trainer.splats["means"])
    return {"curve": curve, "steps": steps, "seconds": seconds, "splats": splats, "notes": notes}


def main(folder: pathlib.Path) -> None:
    """Answer the question in a folder; an error is an answer too."""
    try:
        reply = answer(folder)
    except Exception as error:
        traceback.print_exc()
        reply = {"error": f"{type(error).__name__}: {error}"}
    (folder / "outputs.json").write_text(json.dumps(reply), encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

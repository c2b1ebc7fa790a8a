"""Which rows the rasterizer's suite measures."""

import dataclasses
from typing import Literal

Form = Literal["exact", "gradient", "policy", "own_splats", "scenes"]


@dataclasses.dataclass(frozen=True)
class RowSpec:
    """What one row measures.

    Attributes:
        name: of the row, fixed.
        form: `exact`, its `gradient` too, `policy`: the policy-resolution form against everything exact, `own_splats`:
            the same against a peer that draws just what the form chose, `scenes`: many scenes with moving actors.
        cameras: of a call.
        width: pixels.
        height: pixels.
        gaussians: of a scene, before its levels are built.
        device: where it is measured.
        sets: of cameras, among which the timed calls alternate.
        shown: cameras by which the quality is judged.
        cameras_per_pass: as ``RasterConfig`` has it.
        memory: whether the peak memory stands beside the speed.
        staged: whether the times of the stages do.
        scenes: for `scenes`.
        actors: for `scenes`, placed anew for each camera.
    """

    name: str
    form: Form
    cameras: int
    width: int
    height: int
    gaussians: int
    device: Literal["gpu", "cpu"] = "gpu"
    sets: int = 3
    shown: int = 32
    cameras_per_pass: int = 0
    memory: bool = False
    staged: bool = False
    scenes: int = 1
    actors: int = 0


# The row that reports its memory comes first: before it nothing else has raised the process's peak.
SPECS = (
    RowSpec("fwd_1024x96x64_1M_exact", "exact", 1024, 96, 64, 1_000_000, sets=1, memory=True),
    RowSpec("fwd_1x1600x900_1M", "exact", 1, 1600, 900, 1_000_000, shown=1, staged=True),
    RowSpec("fwdbwd_1x1600x900_1M", "gradient", 1, 1600, 900, 1_000_000, shown=1),
    RowSpec("fwd_1024x96x64_300k_exact", "exact", 1024, 96, 64, 300_000, staged=True),
    RowSpec("fwd_1024x96x64_30k_exact", "exact", 1024, 96, 64, 30_000),
    RowSpec("fwd_1024x96x64_300k_policy", "policy", 1024, 96, 64, 300_000, staged=True),
    RowSpec("fwd_1024x96x64_300k_policy_same_splats", "own_splats", 1024, 96, 64, 300_000, sets=1),
    RowSpec("fwd_1024x96x64_16_scenes_16_actors", "scenes", 1024, 96, 64, 200_000, shown=16, scenes=16, actors=16),
    RowSpec("cpu_fwd_16x96x64_30k", "exact", 16, 96, 64, 30_000, device="cpu", sets=1, shown=2),
    RowSpec("cpu_fwd_16x48x32_30k", "exact", 16, 48, 32, 30_000, device="cpu", sets=1, shown=2),
)

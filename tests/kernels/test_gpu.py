"""The GPU backend as a program: its kernels compile for every recent card, and XLA is given them to launch."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.kernels import RasterConfig, rasterize
from jaxrecon.kernels.gpu import launch, nvrtc
from jaxrecon.kernels.gpu import plan as planning
from jaxrecon.kernels.gpu.lists import emit_pairs
from jaxrecon.kernels.gpu.packing import pack

RUN = launch.Program.run
KERNEL_NAME = re.compile(r"\{name = \\22(\w+)\\22, kernel_type")  # as MLIR prints quotes


@pytest.fixture
def plan(views, cloud, request):
    paired = getattr(request, "param", False)
    view = views(96, 64, cameras=1024)
    return planning.make_plan(
        cloud(jax.random.key(0), 300, 3), view, False, RasterConfig(pairs_per_camera=1000), paired
    )


@pytest.mark.parametrize("plan", [False, True], indirect=True)
@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.9", "9.0", "10.0", "12.0"])
def test_kernels_compile_for_recent_cards_without_a_compiler_installed(plan, capability):
    ptx = nvrtc.compile_ptx(launch.SOURCE.read_text(), plan.program.constants, capability)
    kernels = {"pack", "emit", "sum_up", "settle", "order", "blend"}
    kernels |= {"blend_backward", "gather"} if plan.paired else set()
    assert set(re.findall(r"\.visible \.entry (\w+)\(", ptx)) == kernels
    assert f".target sm_{capability.replace('.', '')}" in ptx


def test_a_source_that_does_not_compile_is_refused_with_the_compilers_words():
    with pytest.raises(nvrtc.CompileError, match=r"(?s)compute capability 9.0.*identifier \"missing\" is undefined"):
        nvrtc.compile_ptx("__global__ void broken() { missing(); }", (), "9.0")


def test_a_missing_compiler_library_says_what_installs_it(monkeypatch):
    monkeypatch.setattr(nvrtc.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(nvrtc.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(nvrtc.pathlib.Path, "glob", lambda self, pattern: iter(()))
    with pytest.raises(nvrtc.CompileError, match="pip install nvidia-cuda-nvrtc"):
        nvrtc.library_path()


def test_xla_is_handed_every_kernel_of_a_drawing_and_its_gradient(views, cloud, monkeypatch):
    monkeypatch.setattr(launch.Program, "run", RUN)
    monkeypatch.setattr(launch, "_capability", lambda: "9.0")
    arena, view = cloud(jax.random.key(0), 50), views()

    def loss(means):
        return rasterize(arena.replace(means=means), view, backend="gpu").rgb.sum()

    drawing = jax.jit(functools.partial(rasterize, backend="gpu")).trace(arena, view)
    text = drawing.lower(lowering_platforms=("cuda",)).as_text()
    assert KERNEL_NAME.findall(text) == ["pack", "emit", "sum_up", "settle", "order", "blend"]
    text = jax.jit(jax.grad(loss)).trace(arena.means).lower(lowering_platforms=("cuda",)).as_text()
    assert {"blend_backward", "gather"} <= set(KERNEL_NAME.findall(text))


def test_off_a_gpu_the_backend_refuses_with_the_reason(views, cloud, monkeypatch):
    monkeypatch.setattr(launch, "why_no_gpu", lambda: "JAX's default device is a cpu")
    with pytest.raises(RuntimeError, match="backend 'gpu' cannot run here: JAX's default device is a cpu"):
        rasterize(cloud(jax.random.key(0), 4), views(), backend="gpu")


def test_what_is_needed_is_added_up_in_64_bits(views, cloud):
    plan = planning.make_plan(
        cloud(jax.random.key(0), 4), views(cameras=4), False, RasterConfig(pairs_per_camera=64), False
    )
    needed = np.array([200, 2**31 + 5, 1, 2**33], np.uint64)
    ends = jax.ShapeDtypeStruct((4, 2), jnp.uint32)
    results = [ends, jax.ShapeDtypeStruct((4,), jnp.int32), jax.ShapeDtypeStruct((4,), jnp.bool_)]
    words = jnp.asarray(needed.view(np.uint32).reshape(4, 2))
    ends, pairs, overflow = plan.program.run("sum_up", 1, 1024, [words], results)
    np.testing.assert_array_equal(np.asarray(ends).view(np.uint64)[:, 0], np.cumsum(needed))
    assert np.asarray(pairs).tolist() == [200, 2**31 - 1, 1, 2**31 - 1]
    assert np.asarray(overflow).tolist() == [False, True, True, True]


def test_with_too_little_room_the_first_cameras_are_whole(views, cloud):
    arena, view = cloud(jax.random.key(1), 300), views(cameras=4)
    whole = rasterize(arena, view, backend="gpu")
    room = int(whole.pairs.sum()) * 5 // 8
    draw = jax.jit(functools.partial(rasterize, backend="gpu", config=RasterConfig(pairs_per_camera=room // 4)))
    raster = draw(arena, view)
    assert np.asarray(raster.overflow).tolist() == [False, False, True, True]
    np.testing.assert_array_equal(raster.pairs, whole.pairs)
    np.testing.assert_array_equal(raster.rgb[:2], whole.rgb[:2])


@pytest.mark.parametrize("cameras", [1, 16])
def test_sort_keys_of_few_small_images_tell_depths_apart(views, cloud, cameras):
    # Equal keys are put in order pair by pair: a region of a large scene that has one key for all takes seconds.
    arena, view = cloud(jax.random.key(0), 300), views(32, 24, cameras=cameras)
    plan = planning.make_plan(arena, view, False, RasterConfig(pairs_per_camera=1000), False)
    emitted = emit_pairs(plan, pack(plan, arena, view, jnp.float32(1.0)))
    assert not emitted.overflow.any()
    pairs = int(emitted.pairs.sum())
    keys = np.sort(np.asarray(emitted.keys))[:pairs]
    assert pairs > 200 * cameras and len(np.unique(keys)) > 0.99 * pairs


def test_too_many_cameras_for_the_sort_key_are_drawn_in_passes(views, cloud):
    view = views(96, 64, cameras=1024)
    few = planning.cameras_in_a_pass(view, RasterConfig(pairs_per_camera=10_000))
    many = planning.cameras_in_a_pass(view, RasterConfig(pairs_per_camera=1_000_000))
    assert few == 1024 and 64 < many < 512
    huge = views(1600, 1600, cameras=40_000)
    with pytest.raises(ValueError, match="bits of a sort key for depth; expected at least 12"):
        planning.make_plan(cloud(jax.random.key(0), 4), huge, False, RasterConfig(), False)

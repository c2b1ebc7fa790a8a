"""What the rasterizer's tests draw, and the GPU's kernels on machines without one."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import pytest

from jaxrecon.kernels import Arena, Views
from jaxrecon.kernels.gpu import launch


@pytest.fixture(autouse=True)
def gpu_kernels(monkeypatch):
    """Without a GPU its kernels run in emulation, so that every test of the backend ``gpu`` runs everywhere."""
    if launch.why_no_gpu():
        path = pathlib.Path(__file__).parent / "simt" / "emulator.py"
        spec = importlib.util.spec_from_file_location("simt_emulator", path)
        emulator = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(emulator)
        monkeypatch.setattr(launch.Program, "run", emulator.run)
        monkeypatch.setattr(launch, "why_no_gpu", lambda: "")


@pytest.fixture
def views():
    """Cameras at the origin of their only group, looking along z."""

    def make(width=32, height=24, focal=30.0, cameras=1, groups=1) -> Views:
        return Views(
            camera_from_group=jnp.tile(jnp.eye(4), (cameras, groups, 1, 1)),
            group_valid=jnp.ones((cameras, groups), bool),
            intrinsics=jnp.tile(jnp.array([focal, focal, width / 2, height / 2]), (cameras, 1)),
            width=width,
            height=height,
        )

    return make


@pytest.fixture
def poses():
    """Slightly turned and shifted cameras, with every rigid group displaced in each."""

    def make(key, cameras, groups) -> jax.Array:
        angle = 0.1 * jax.random.normal(key, (cameras, groups))
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        pose = jnp.tile(jnp.eye(4), (cameras, groups, 1, 1))
        pose = pose.at[..., 0, 0].set(cos).at[..., 0, 2].set(sin).at[..., 2, 0].set(-sin).at[..., 2, 2].set(cos)
        return pose.at[..., :3, 3].set(0.3 * jax.random.normal(key, (cameras, groups, 3)))

    return make


@pytest.fixture
def cloud():
    """Random Gaussians of all shapes in front of the cameras."""

    def make(key, count, sh_degree=0, spread=3.0) -> Arena:
        k = jax.random.split(key, 5)
        depth = jax.random.uniform(k[0], (count, 1), minval=1.0, maxval=12.0)
        sideways = jax.random.uniform(k[1], (count, 2), minval=-1.0, maxval=1.0) * depth * 0.6
        return Arena(
            means=jnp.concatenate([sideways, depth], axis=1),
            quaternions=jax.random.normal(k[2], (count, 4)),
            scales=jnp.exp(jax.random.uniform(k[3], (count, 3), minval=-4.0, maxval=-0.5)) * spread / 3,
            opacities=jax.random.uniform(k[4], (count,), minval=0.05, maxval=0.98),
            sh=jax.random.normal(k[0], (count, (sh_degree + 1) ** 2, 3)) * 0.6,
            group=jnp.zeros((count,), jnp.int32),
        )

    return make

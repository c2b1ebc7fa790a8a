"""The whole step, rendering included, compiled ahead of time for a TPU."""

import pathlib

import pytest
from tpu_compilation import compiled_for_tpu

COMPILE = """
import dataclasses
import sys

import jax
import jax.numpy as jnp
from jax.experimental import topologies

sys.path.insert(0, sys.argv[2])
from tests.simulator.conftest import make_log
from tests.simulator.test_splat_cameras import make_scene
from jaxrecon.render import RasterConfig
from jaxrecon.scene import build_levels, occupancy
from jaxrecon.simulator import *

log = make_log()
raster = RasterConfig(pairs_per_camera=256, clusters_per_camera=8, splats_per_step=8)
config = dataclasses.replace(POLICY_RENDER, backend="tpu", raster=raster)
scene = make_scene(0, 300, 2)
world = build_world(
    log, policy_cameras(build_levels(scene), scene, config), policy_rig(log, 32, 16), occupancy.empty()
)
simulator, params = Simulator(join_worlds([world, world])), default_params()
state, _ = jax.eval_shape(lambda key: simulator.reset(key, 4, params, draw=False), jax.random.key(0))

jax.default_backend = lambda: "tpu"  # what the code would see on the device
device = topologies.get_topology_desc(platform="tpu", topology_name=sys.argv[1]).devices[0]
here = jax.sharding.SingleDeviceSharding(device)
arguments = (simulator, state, jnp.zeros((4, 2), jnp.int32), params)
described = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf), sharding=here), arguments
)
lowered = jax.jit(Simulator.step).trace(*described).lower(lowering_platforms=("tpu",))
memory = lowered.compile().memory_analysis()
print(f"{device.device_kind}; calls the kernel: {'tpu_custom_call' in lowered.as_text()}; {memory}")
"""


@pytest.mark.torture
def test_the_step_compiles_for_a_tpu_that_is_not_here():
    root = pathlib.Path(__file__).resolve().parents[2]
    assert "TPU v5 lite; calls the kernel: True" in compiled_for_tpu(COMPILE, "v5e:2x2", str(root))

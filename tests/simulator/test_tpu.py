"""The whole step, rendering included, compiled ahead of time for a TPU."""

import os
import pathlib
import subprocess
import sys

import pytest

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


@pytest.mark.slow
def test_the_step_compiles_for_a_tpu_that_is_not_here():
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {
        "JAX_PLATFORMS": "cpu",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # other processes may load it too: no device is opened
        # What the machine is gets said here, not asked of the network.
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_ID": "0",
        "TPU_WORKER_HOSTNAMES": "localhost",
    }
    root = pathlib.Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", COMPILE, "v5e:2x2", str(root)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "TPU v5 lite; calls the kernel: True" in result.stdout

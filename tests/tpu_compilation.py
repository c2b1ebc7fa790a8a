"""Compiling for a TPU on a machine without one, in a process of its own."""

import os
import subprocess
import sys


def compiled_for_tpu(program: str, *arguments: str) -> str:
    """What a Python program that compiles ahead of time prints; fails with its errors if it does."""
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
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout

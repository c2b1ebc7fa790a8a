"""A fresh process that takes a simulator's first step and says how long that took; the simulator's suite starts it."""

import json
import pathlib
import pickle
import sys
import time

BEGIN = time.perf_counter()


def main(folder: pathlib.Path, environments: int) -> dict[str, float]:
    """Seconds of imports, of loading, and of the first reset and step: traced, compiled and run."""
    import jax
    import jax.numpy as jnp

    from jaxrecon.simulator import Simulator, default_params, reward_weights

    imported = time.perf_counter()
    simulator = jax.block_until_ready(jax.device_put(pickle.loads((folder / "simulator.pickle").read_bytes())))
    params = default_params(reward_weights(terms=simulator.config.terms))
    loaded = time.perf_counter()
    reset = jax.jit(Simulator.reset, static_argnames="environments")
    state, _ = reset(simulator, jax.random.key(0), environments, params)
    _, result = jax.jit(Simulator.step)(simulator, state, jnp.zeros((environments, 2)), params)
    jax.block_until_ready(result)
    done = time.perf_counter()
    return {
        "first_step_seconds": done - loaded,
        "import_seconds": imported - BEGIN,
        "load_seconds": loaded - imported,
        "process_seconds": done - BEGIN,
        "overflow": float(result.overflow.sum()),
    }


if __name__ == "__main__":
    print(json.dumps(main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))))

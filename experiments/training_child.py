"""A fresh process that makes PPO's first update and says how long that took; the training suite starts it."""

import json
import pathlib
import pickle
import sys
import time

BEGIN = time.perf_counter()


def main(folder: pathlib.Path) -> dict[str, float]:
    """Seconds of imports, of loading, and of the first update, with making policy and environments: all compiled."""
    import jax
    from training_presets import training_params

    from jaxrecon import agents
    from jaxrecon.agents.imitation_loss import DEFAULT_IMITATION
    from jaxrecon.agents.ppo_config import DEFAULT_PPO
    from jaxrecon.agents.ppo_update import initial_state, update

    imported = time.perf_counter()
    simulator, shape, ppo = pickle.loads((folder / "run.pickle").read_bytes())
    simulator, params = jax.block_until_ready(jax.device_put(simulator)), training_params()
    loaded = time.perf_counter()
    policy = agents.create_policy(shape, jax.random.key(0))
    training = initial_state(simulator, policy, ppo, jax.random.key(1), DEFAULT_PPO, params)
    jax.block_until_ready(training.observation)
    begun = time.perf_counter()
    _, figures = update(training, simulator, None, ppo, DEFAULT_PPO, DEFAULT_IMITATION, params)
    figures = jax.device_get(figures)
    done = time.perf_counter()
    return {
        "first_update_seconds": done - loaded,
        "of_which_reset_seconds": begun - loaded,
        "import_seconds": imported - BEGIN,
        "load_seconds": loaded - imported,
        "process_seconds": done - BEGIN,
        "overflow_share": float(figures["overflow_share"]),
        "skipped": int(figures["skipped"]),
    }


if __name__ == "__main__":
    print(json.dumps(main(pathlib.Path(sys.argv[1]))))

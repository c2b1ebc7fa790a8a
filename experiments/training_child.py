"""A fresh process that makes PPO's first update and says how long that took; the training suite starts it."""

import json
import pathlib
import pickle
import sys
import time

BEGIN = time.perf_counter()


def main(folder: pathlib.Path) -> dict[str, float]:
    """Seconds of imports, of loading, and of the first update, with making policy, environments and demonstrations: all
    compiled."""
    import jax
    from training_presets import training_params
    from training_worlds import show_all

    from jaxrecon import agents
    from jaxrecon.agents.imitation_loss import DEFAULT_IMITATION
    from jaxrecon.agents.ppo_config import DEFAULT_PPO
    from jaxrecon.agents.ppo_update import initial_state, update
    from jaxrecon.agents.varied import VariedEnvironment

    imported = time.perf_counter()
    simulator, shape, ppo, copies = pickle.loads((folder / "run.pickle").read_bytes())
    simulator, params = jax.block_until_ready(jax.device_put(simulator)), training_params()
    loaded = time.perf_counter()
    shown = jax.block_until_ready(show_all(simulator, params, copies, 1, jax.random.key(3)))
    drawn = time.perf_counter()
    environment = VariedEnvironment(simulator, ppo.augmentation)
    policy = agents.create_policy(shape, jax.random.key(0))
    training = initial_state(environment, policy, ppo, jax.random.key(1), DEFAULT_PPO, params)
    jax.block_until_ready(training.observation)
    begun = time.perf_counter()
    _, figures = update(training, environment, shown, ppo, DEFAULT_PPO, DEFAULT_IMITATION, params)
    figures = jax.device_get(figures)
    done = time.perf_counter()
    return {
        "first_update_seconds": done - loaded,
        "of_which_demonstrations_seconds": drawn - loaded,
        "of_which_reset_seconds": begun - drawn,
        "import_seconds": imported - BEGIN,
        "load_seconds": loaded - imported,
        "process_seconds": done - BEGIN,
        "overflow_share": float(figures["overflow_share"]),
        "skipped": int(figures["skipped"]),
    }


if __name__ == "__main__":
    print(json.dumps(main(pathlib.Path(sys.argv[1]))))

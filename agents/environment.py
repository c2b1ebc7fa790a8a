"""What the learner asks of an environment; the simulator is one, and so is any small problem with a known answer."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Int, PRNGKeyArray


@runtime_checkable
class Environment(Protocol):
    """A batch of environments as a pytree whose methods are pure.

    One that has a method ``figures``, from its state to arrays by name, adds them to the figures of every update.

    It is handed to compiled functions as an argument, so its arrays are leaves and whatever else it holds is static
    and hashable (a ``flax.struct.dataclass``, say).
    """

    def reset(self, key: PRNGKeyArray, environments: int, params: Any) -> tuple[Any, Any]:
        """State and first observation of a batch; both have the leading axis ``env`` in every leaf."""
        ...

    def step(self, state: Any, action: Int[Array, "env 2"], params: Any) -> tuple[Any, Any]:
        """State and result of one step.

        The result has ``observation`` (the episode's own last one at its ending), ``reward`` (env, reward),
        ``terminated``, ``truncated`` and ``valid`` (env,): the step after an ending starts the next episode, ignores
        its action and is not valid. ``overflow`` (env,), where there is one, says that an observation is damaged.
        """
        ...

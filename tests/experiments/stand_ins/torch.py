"""As much of torch as the benchmark's peer uses, on NumPy: enough to check what it passes and answers, not how fast."""

import contextlib
from types import SimpleNamespace

import numpy as np


class Tensor(np.ndarray):
    """An array with the methods of a tensor."""

    def cuda(self):
        return self

    cpu = cuda
    contiguous = cuda

    def numpy(self):
        return np.asarray(self)

    def requires_grad_(self, _):
        return self

    def clamp(self, min):
        return np.maximum(self, min).view(Tensor)


class OutOfMemoryError(RuntimeError):
    """What a full device raises."""


def from_numpy(array):
    return array.view(Tensor)


no_grad = contextlib.nullcontext
autograd = SimpleNamespace(grad=lambda loss, leaves: tuple(np.zeros_like(leaf) for leaf in leaves))
cuda = SimpleNamespace(
    OutOfMemoryError=OutOfMemoryError,
    synchronize=lambda: None,
    empty_cache=lambda: None,
    reset_peak_memory_stats=lambda: None,
    max_memory_allocated=lambda: 2**30,
)

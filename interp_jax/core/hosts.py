"""Exchange between the processes of one program, which all make the same calls in the same order.

With one process all of this is free and touches no device.
"""

import jax
import numpy as np

from interp_jax.core.types import Numpy


def gather(values: Numpy) -> Numpy:
    """Collect `values` (`[...]`, at most 32 bits an element) of every process as `[processes, ...]`."""
    if jax.process_count() == 1:
        return np.asarray(values)[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(values)))


def trouble(text: str) -> str:
    """Give every process the first (by process number) text that is not empty; empty if all are well."""
    if jax.process_count() == 1:
        return text
    data = text.encode()[:1000]
    rows = gather(np.frombuffer(data.ljust(1000, b"\0"), np.uint8))
    texts = [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in rows]
    return next((f"process {i}: {text}" for i, text in enumerate(texts) if text), "")

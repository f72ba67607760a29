"""Agreement between the processes of one program: every process makes the same calls in the same order.

With one process all of this is free and touches no device.
"""

from collections.abc import Callable

import jax
import numpy as np

from interp_jax.core.hosts import gather
from interp_jax.runs.errors import StoreError


def share(text: str) -> str:
    """Give every process the text of process 0."""
    if jax.process_count() == 1:
        return text
    data = np.frombuffer(text.encode(), np.uint8)
    length = int(gather(np.asarray([data.size], np.uint32))[0, 0])
    if jax.process_index() > 0:
        data = np.zeros(length, np.uint8)
    return gather(data)[0].tobytes().decode() if length else ""


def first(do: Callable[[], str]) -> str:
    """Do something on process 0 only and give its text to all; an error there is raised everywhere.

    Raises:
        StoreError: on every process but 0, where the error of process 0 itself is raised.
    """
    if jax.process_count() == 1:
        return do()
    error, text = None, ""
    if jax.process_index() == 0:
        try:
            text = "+" + do()
        except Exception as caught:
            error, text = caught, f"-{caught}"
    text = share(text)
    if error is not None:
        raise error
    if text.startswith("-"):
        raise StoreError(f"process 0: {text[1:]}")
    return text[1:]

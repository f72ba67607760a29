"""Names for what the library passes around; nothing here runs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Array = jax.Array
ArrayLike = jax.typing.ArrayLike
Key = jax.Array
"""A typed threefry key: `jax.random.key(seed)`."""
Numpy = np.ndarray
PyTree = Any
Apply = Callable[[PyTree, Any], Any]
"""A model: `apply(params, x)` maps ONE example to an array or a pytree."""

"""Checks of values that are plain Python numbers; traced numbers pass, since nobody could read the message.

Rank, dtype and agreeing axes are chex's: `chex.assert_rank([x, y], 2)`.
"""

import jax
import numpy as np

from interp_jax.core.types import ArrayLike


def concrete(value: ArrayLike) -> np.ndarray | None:
    """Give the value where it is known now, None where it is traced."""
    try:
        return np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return None


def positive(**named: object) -> None:
    """Raise ValueError for the first plain number that is not above zero.

    >>> positive(alpha=1.0)
    >>> positive(alpha=-1.0)
    Traceback (most recent call last):
    ValueError: want alpha > 0, got alpha=-1.0
    """
    for name, value in named.items():
        if isinstance(value, int | float) and not value > 0:
            raise ValueError(f"want {name} > 0, got {name}={value!r}")


def not_negative(**named: object) -> None:
    """Raise ValueError for the first plain number below zero (or NaN)."""
    for name, value in named.items():
        if isinstance(value, int | float) and not value >= 0:
            raise ValueError(f"want {name} >= 0, got {name}={value!r}")


def between(low: float, high: float, **named: object) -> None:
    """Raise ValueError for the first plain number outside `[low, high]`.

    >>> between(0, 1, quantile=1.5)
    Traceback (most recent call last):
    ValueError: want 0 <= quantile <= 1, got quantile=1.5
    """
    for name, value in named.items():
        if isinstance(value, int | float) and not low <= value <= high:
            raise ValueError(f"want {low} <= {name} <= {high}, got {name}={value!r}")


def whole(low: int, **named: object) -> None:
    """Raise ValueError for the first value that is not an integer of at least `low`.

    >>> whole(1, steps=0)
    Traceback (most recent call last):
    ValueError: want an integer steps >= 1, got steps=0
    """
    for name, value in named.items():
        if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < low:  # pyrefly: ignore
            raise ValueError(f"want an integer {name} >= {low}, got {name}={value!r}")


def entries(low: ArrayLike, high: ArrayLike, **named: ArrayLike) -> None:
    """Raise ValueError for the first array that is known now and has an entry outside `[low, high]` (or NaN).

    >>> import jax.numpy as jnp
    >>> entries(0, 1, x=jnp.array([0.5, 2.0]))
    Traceback (most recent call last):
    ValueError: want 0 <= x <= 1, got entries from 0.5 to 2.0
    """
    limits = concrete(low), concrete(high)
    for name, value in named.items():
        known = concrete(value)
        if known is None or limits[0] is None or limits[1] is None:
            continue
        if not np.all((known >= limits[0]) & (known <= limits[1])):
            raise ValueError(f"want {low} <= {name} <= {high}, got entries from {known.min()} to {known.max()}")

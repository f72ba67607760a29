"""Several tests at once: Holm's step-down over any p-values, max-T over a grid of dependent ones, in float64.

Holm serves the primary claims of a page. Max-T serves a grid (layers by heads, dimensions by factors), where it uses
the dependence that Holm must assume to be the worst. Both bound the chance of any false rejection.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from interp_jax.core.intervals import Data, Values
from interp_jax.core.types import Numpy

BLOCK = 1024


class MaxT(NamedTuple):
    """Tests of a grid `[...]`: studentised statistic, own p-value, adjusted p-value.

    p: the p-value of the cell alone, by the same flips or permutations. adjusted: step-down max-T.
    draws: how many flips or permutations were seen. exact: True where these were all there are.
    """

    statistic: Values
    p: Values
    adjusted: Values
    draws: int
    exact: bool


def holm(p: Data) -> Numpy:
    """Give Holm's (1979) step-down adjusted p-values, of the shape of p: reject where they are at most alpha.

    The j-th smallest becomes `max over i <= j of min(1, (m - i + 1) p_(i))`. Holds under any dependence.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    if not np.all((p >= 0) & (p <= 1)):  # NaN too
        raise ValueError(f"want p-values in [0, 1], got {p}")
    order = np.argsort(p, axis=None, kind="stable")
    steps = np.minimum(1.0, p.ravel()[order] * (p.size - np.arange(p.size)))
    adjusted = np.empty(p.size)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted.reshape(p.shape)


def max_t(x: Data, *, seed: int | np.random.Generator = 0, draws: int = 10_000) -> MaxT:
    """Test every cell of a grid for a mean of zero by flipping the signs of whole replicates (Westfall and Young 1993).

    x: `[n, ...]`, one replicate a row: differences of a paired design, or scores less their null value. A replicate is
    flipped as a whole, so the dependence between cells stays. Two-sided, step-down. Assumes that under the null a
    replicate is symmetric around zero. All `2^(n - 1)` flips are enumerated if they are at most `draws`, otherwise
    `draws` are drawn and the observed one is counted among them (Phipson and Smyth 2010). The smallest p-value possible
    is `2^(1 - n)`: 0.0625 for five replicates, which can never reject at 0.05.

    >>> grid = max_t(np.array([[1.0, 0.3], [1.2, -0.2], [0.9, 0.1], [1.1, -0.3], [1.3, 0.2], [0.8, 0.1]]))
    >>> grid.adjusted.tolist(), grid.exact
    ([0.03125, 0.84375], True)
    """
    rows, shape = _rows(x, "x")
    n = len(rows)
    exact = 2 ** (n - 1) <= draws
    flips = _all_flips(n) if exact else _random_flips(n, draws, np.random.default_rng(seed))
    scale, squares = np.abs(rows).max(0, initial=0.0), (rows**2).sum(0)

    def statistic(signs: Numpy) -> Numpy:
        mean = signs @ rows / n
        return _ratio(mean, np.sqrt(np.maximum(squares - n * mean**2, 0.0) / (n * (n - 1))), scale)

    return _step_down(statistic, np.ones((1, n)), flips, shape, exact)


def max_t_two(a: Data, b: Data, *, seed: int | np.random.Generator = 0, draws: int = 10_000) -> MaxT:
    """Test every cell of a grid for equal means of two independent groups by permuting the labels of whole replicates.

    a: `[n, ...]`, b: `[m, ...]`. The statistic is Welch's t. Two-sided, step-down. Exact where the groups are
    exchangeable under the null, asymptotically right for unequal variances (Janssen 1997). Enumerates all
    `C(n + m, n)` labellings if they are at most `draws`.

    >>> max_t_two(np.array([5.0, 6.0, 7.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.0])).adjusted.round(4).tolist()
    0.0286
    """
    (first, shape), (second, other) = _rows(a, "a"), _rows(b, "b")
    if shape != other:
        raise ValueError(f"want a and b with the same grid, got {shape} and {other}")
    n, m = len(first), len(second)
    rows = np.concatenate([first, second])
    rows = rows - rows.mean(0)  # sums of squares below lose no digits to a common offset
    exact = math.comb(n + m, n) <= draws
    labels = _all_labels(n, m) if exact else _random_labels(n, m, draws, np.random.default_rng(seed))
    scale = np.abs(rows).max(0, initial=0.0)

    def statistic(chosen: Numpy) -> Numpy:
        parts = [(chosen @ rows / n, chosen @ rows**2, n), ((1 - chosen) @ rows / m, (1 - chosen) @ rows**2, m)]
        variance = sum(np.maximum(squares - k * mean**2, 0.0) / (k * (k - 1)) for mean, squares, k in parts)
        return _ratio(parts[0][0] - parts[1][0], np.sqrt(variance), scale)

    return _step_down(statistic, np.repeat([1.0, 0.0], [n, m])[None], labels, shape, exact)


def max_t_drawn(statistic: Data, drawn: Data) -> MaxT:
    """Test every cell of a grid by statistics that were recomputed under the null, step-down.

    statistic: `[...]`, large where the null is wrong, and on one scale over the grid. drawn: `[draws, ...]`, each draw
    made for the whole grid at once, so that the dependence between cells stays. The observed one counts among them.

    >>> max_t_drawn([3.0, 1.0], [[0.5, 2.0], [1.0, 0.0], [0.1, 0.2]]).adjusted.tolist()
    [0.25, 0.5]
    """
    statistic, drawn = np.asarray(statistic, float), np.asarray(drawn, float)
    if drawn.ndim == 0 or not len(drawn) or drawn.shape[1:] != statistic.shape:
        raise ValueError(f"want drawn of shape [draws, *{statistic.shape}], got {drawn.shape}")
    if not (np.isfinite(statistic).all() and np.isfinite(drawn).all()):
        raise ValueError("statistic or drawn is not finite: leave out what has no value, and list it")
    rows = drawn.reshape(len(drawn), -1)
    return _step_down(lambda block: block, statistic.reshape(1, -1), iter([rows]), statistic.shape, False)


def _rows(x: Data, name: str) -> tuple[Numpy, tuple[int, ...]]:
    x = np.asarray(x, float)
    if x.ndim == 0 or len(x) < 2:
        raise ValueError(f"want {name} with at least 2 replicates along axis 0, got shape {x.shape}")
    bad = np.unique(np.nonzero(~np.isfinite(x))[0])
    if bad.size:
        raise ValueError(f"{name} is not finite at replicates {bad.tolist()}: leave out what diverged, and list it")
    return x.reshape(len(x), -1), x.shape[1:]


def _ratio(mean: Numpy, se: Numpy, scale: Numpy) -> Numpy:
    """Give `|mean| / se`, 0 where both vanish to rounding, infinite where only the error does."""
    tiny = 1e-9 * scale
    mean = np.where(np.abs(mean) <= tiny, 0.0, np.abs(mean))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean == 0, 0.0, mean / np.where(se <= tiny, 0.0, se))


def _step_down(
    statistic: Callable[[Numpy], Numpy], observed: Numpy, blocks: Iterator[Numpy], shape: tuple[int, ...], exact: bool
) -> MaxT:
    seen = np.array(statistic(observed)[0])
    order = np.argsort(-seen, kind="stable")
    bar = seen - 1e-9 * np.where(np.isfinite(seen), seen, 0.0)  # equal up to rounding counts as equal
    alone, joint, draws = np.zeros(seen.size), np.zeros(seen.size), 0
    for block in blocks:
        drawn = statistic(block)
        alone += (drawn >= bar).sum(0)
        largest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
        joint += (largest >= bar[order]).sum(0)
        draws += len(block)
    extra = 0 if exact else 1
    adjusted = np.empty(seen.size)
    adjusted[order] = np.maximum.accumulate((joint + extra) / (draws + extra))
    fields = (seen, (alone + extra) / (draws + extra), adjusted)
    seen, alone, adjusted = (field.reshape(shape)[()] for field in fields)
    return MaxT(seen, alone, adjusted, draws + extra, exact)


def _all_flips(n: int) -> Iterator[Numpy]:
    """Yield blocks `[block, n]` of every sign vector whose first sign is +1: the other half mirrors it."""
    total = 2 ** (n - 1)
    for start in range(0, total, BLOCK):
        number = np.arange(start, min(start + BLOCK, total))[:, None]
        yield np.concatenate([np.ones((len(number), 1)), 1.0 - 2.0 * (number >> np.arange(n - 1) & 1)], axis=1)


def _random_flips(n: int, draws: int, rng: np.random.Generator) -> Iterator[Numpy]:
    for start in range(0, draws, BLOCK):
        yield 1.0 - 2.0 * rng.integers(0, 2, (min(BLOCK, draws - start), n))


def _all_labels(n: int, m: int) -> Iterator[Numpy]:
    """Yield blocks `[block, n + m]` of every 0-1 vector with n ones."""
    choices = itertools.combinations(range(n + m), n)
    while block := list(itertools.islice(choices, BLOCK)):
        chosen = np.zeros((len(block), n + m))
        np.put_along_axis(chosen, np.array(block), 1.0, axis=1)
        yield chosen


def _random_labels(n: int, m: int, draws: int, rng: np.random.Generator) -> Iterator[Numpy]:
    base = np.repeat([1.0, 0.0], [n, m])
    for start in range(0, draws, BLOCK):
        yield rng.permuted(np.tile(base, (min(BLOCK, draws - start), 1)), axis=1)

"""Contrast-consistent search: a probe of a statement and its negation that is trained without labels.

Burns et al. (2022), Discovering Latent Knowledge in Language Models Without Supervision, equations 1 to 3. With
p+ and p- the probabilities that a probe gives a statement and its negation, each side centred by its own mean,

    loss = mean (p+ - (1 - p-))^2 + mean min(p+, p-)^2         consistency, and confidence

and credence = (p+ + 1 - p-) / 2 says how far it believes the statement. Their settings are the defaults: AdamW at 1e-3
with decay .01, 1,000 steps on all rows, a linear probe (the peer's command line takes its MLP unless told otherwise),
ten restarts. One probe here; the caller vmaps over restarts, layers and seeds, and every restart is returned:

    fits = jax.vmap(lambda key: fit(train, key))(jax.random.split(key, 10))
    chosen = lowest(fits)                                      # by the loss, which needs no label

Where one set of pairs serves R probes, their products with it are one product of matrices under `vmap`, `[R, D] x
[D, 2 N]`. Layers, whose pairs differ, may go by `vmap` or `jax.lax.map`: 70 probes of 7 layers on two CPU cores took as
long either way, 15 times less than a PyTorch loop of probes (scripts/bench ccs).

Against the peer: held-out pairs are centred by the means of training rows, so that a pair's credence does not depend on
which others are tested with it (`transductive` does as the peer); the sign is left to the caller, to choose on other
data (`contrast.orientation`; the peer takes the better accuracy); the loss is that of the parameters returned, not of
those one step before; all restarts are returned, and flagged where they have found nothing.

Arbitrary features satisfy the loss as well as truth does (Farquhar et al. 2023, theorem 1): a low loss says that some
binary feature of pairs was found, not which.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax.core import checks
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.probes.contrast import Normal, Spread, normalise, shares, statistics, unscaled

Times = Callable[[Array], Array]
"""`weight [K, D] -> [K, M]`: the products of rows of weights with M normalised statements."""


class Probe(NamedTuple):
    """What is trained. init: `(key, D) -> params`. logits: `(params, times) -> [M]` of all statements (see `Times`)."""

    init: Callable[[Key, int], PyTree]
    logits: Callable[[PyTree, Times], Array]


class Linear(NamedTuple):
    """weight: `[K, D]`. bias: `[K]`. Of a normalised representation."""

    weight: Array
    bias: Array


class Loss(NamedTuple):
    """consistency: mean (p+ - (1 - p-))^2. confidence: mean min(p+, p-)^2. Each `[]`; the loss is their sum."""

    consistency: Array
    confidence: Array


class Fit(NamedTuple):
    """A probe after training; every number is of the training rows.

    params: the probe's. normal: what pairs are normalised by. loss, consistency, confidence: `[]`. A probe that cannot
    tell the two sides apart does best at p+ = p- = 2/5, with a loss of 1/5 (not at 1/2, where it is 1/4).
    undecided: `[]` bool, credences are near 1/2 on average. constant: `[]` bool, nearly all statements are believed, or
    nearly none. finite: `[]` bool, the loss and the parameters are.
    """

    params: PyTree
    normal: Normal
    loss: Array
    consistency: Array
    confidence: Array
    undecided: Array
    constant: Array
    finite: Array

    @property
    def degenerate(self) -> Array:
        """Whether the probe has found nothing: undecided, constant, or not finite."""
        return self.undecided | self.constant | ~self.finite


def _uniform(key: Key, inputs: int, outputs: int) -> Linear:
    """Draw a layer as PyTorch does, each entry uniform within 1 / sqrt(inputs)."""
    of_weight, of_bias = jax.random.split(key)
    bound = inputs**-0.5
    draw = jax.random.uniform(of_weight, (outputs, inputs), minval=-bound, maxval=bound)
    return Linear(draw, jax.random.uniform(of_bias, (outputs,), minval=-bound, maxval=bound))


def _linear(params: Linear, times: Times) -> Array:
    return (times(params.weight) + params.bias[:, None])[0]


LINEAR = Probe(lambda key, count: _uniform(key, count, 1), _linear)
"""The paper's probe, sigmoid(w x + b)."""


def mlp(hidden: int = 100) -> Probe:
    """Make the peer's other probe: one hidden layer of rectified units."""
    checks.whole(1, hidden=hidden)

    def init(key: Key, count: int) -> tuple[Linear, Linear]:
        first, second = jax.random.split(key)
        return _uniform(first, count, hidden), _uniform(second, hidden, 1)

    def logits(params: tuple[Linear, Linear], times: Times) -> Array:
        units = jax.nn.relu(times(params[0].weight) + params[0].bias[:, None])
        return (matmul(params[1].weight, units) + params[1].bias[:, None])[0]

    return Probe(init, logits)


def _times(rows: Array) -> Times:
    """Multiply with fixed rows `[M, D]`, which are laid out twice: a CPU's gradient is half again as fast so."""
    columns = rows.T

    @jax.custom_vjp
    def times(weight: Array) -> Array:
        return matmul(weight, columns)

    times.defvjp(lambda weight: (times(weight), None), lambda _, change: (matmul(change, rows),))
    return times


def losses(first: Array, second: Array, weights: Array | None = None) -> Loss:
    """Give the two terms of the loss from probabilities p+ `[N]` and p- `[N]` (Burns et al. 2022, equations 1 and 2).

    weights: `[N]`; rows of weight 0 do not count.

    >>> losses(jnp.array([1.0, 0.5]), jnp.array([0.0, 0.5]))
    Loss(consistency=Array(0., dtype=float32), confidence=Array(0.125, dtype=float32))
    """
    chex.assert_rank([first, second], 1)
    chex.assert_equal_shape([first, second])
    share = jnp.ones_like(first) if weights is None else weights.astype(first.dtype)
    share = share / jnp.sum(share)
    return Loss(matmul(share, (first - (1 - second)) ** 2), matmul(share, jnp.minimum(first, second) ** 2))


def fit(
    pairs: Array, key: Key, *, weights: Array | None = None, spread: Spread = unscaled, probe: Probe = LINEAR,
    lr: ArrayLike = 1e-3, decay: ArrayLike = 0.01, steps: int = 1000, tol: ArrayLike = 0.05,
) -> Fit:  # fmt: skip
    """Train one probe from one draw of its parameters.

    Args:
        pairs: `[N, 2, D]`, floating, as the model gives them; normalised here by their own statistics. Pairs of several
            templates have to be centred by template beforehand, or the templates' words are what is found.
        key: of the initial parameters.
        weights: `[N]`, not negative; rows of weight 0 are held out of statistics and loss.
        spread: what centred sides are divided by; the paper's is nothing, so that the step size is to fit the model.
        probe: linear by default.
        lr: AdamW's step size; may be traced, as may decay and tol.
        decay: of all parameters, decoupled.
        steps: on all rows.
        tol: `undecided` if credences are within it of 1/2 on average; `constant` if at most half this share of pairs
            is on the smaller side of 1/2.

    Raises:
        ValueError: pairs that are not `[N, 2, D]` with N >= 2, or are known and not finite; settings out of range.
    """
    _check(pairs, lr, decay, steps)
    normal = statistics(pairs, weights=weights, spread=spread)
    rows = normalise(pairs, normal)
    count, _, width = rows.shape
    times = _times(jnp.moveaxis(rows, 1, 0).reshape(2 * count, width))  # one product for both sides
    share = shares(pairs, weights)
    optimizer = optax.adamw(lr, weight_decay=decay)  # pyrefly: ignore

    def terms(params: PyTree) -> Loss:
        p = jax.nn.sigmoid(probe.logits(params, times))
        return losses(p[:count], p[count:], share)

    def step(state: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], None]:
        params, kept = state
        gradient = jax.grad(lambda params: sum(terms(params)))(params)
        change, kept = optimizer.update(gradient, kept, params)
        return (optax.apply_updates(params, change), kept), None

    params = jax.tree.map(lambda leaf: leaf.astype(pairs.dtype), probe.init(key, width))
    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
    return _described(probe, params, normal, rows, share, terms(params), tol)


def _check(pairs: Array, lr: ArrayLike, decay: ArrayLike, steps: int) -> None:
    checks.positive(lr=lr)
    checks.not_negative(decay=decay)
    checks.whole(1, steps=steps)
    if pairs.ndim != 3 or pairs.shape[1] != 2 or len(pairs) < 2:
        raise ValueError(f"want pairs [N >= 2, 2, D], statements and negations aligned, got {pairs.shape}")
    known = checks.concrete(pairs)
    if known is not None and not np.isfinite(known).all():
        raise ValueError(f"want pairs that are finite, got {(~np.isfinite(known)).sum()} entries that are not")


def _described(
    probe: Probe, params: PyTree, normal: Normal, rows: Array, share: Array, terms: Loss, tol: ArrayLike
) -> Fit:
    p = _probabilities(probe, params, rows)
    undecided = matmul(share, jnp.abs(p[:, 0] - p[:, 1])) / 2 < tol
    believed = matmul(share, (p[:, 0] > p[:, 1]).astype(share.dtype))
    constant = jnp.minimum(believed, 1 - believed) <= jnp.asarray(tol) / 2
    finite = jnp.isfinite(sum(terms)) & jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
    return Fit(params, normal, terms.consistency + terms.confidence, *terms, undecided, constant, finite)


def _probabilities(probe: Probe, params: PyTree, rows: Array) -> Array:
    count, _, width = rows.shape
    logits = probe.logits(params, lambda weight: matmul(weight, rows.reshape(2 * count, width).T))
    return jax.nn.sigmoid(logits.reshape(count, 2))


def credence(found: Fit, pairs: Array, *, probe: Probe = LINEAR) -> Array:
    """Give (p+ + 1 - p-) / 2 of each pair, `[N]`: belief in the statement, up to the sign that labels settle.

    pairs: `[N, 2, D]`, normalised by what training rows gave. Less 1/2 it is a score for `contrast.accuracy`.
    """
    p = _probabilities(probe, found.params, normalise(pairs, found.normal))
    return (p[:, 0] + 1 - p[:, 1]) / 2


def transductive(
    found: Fit, pairs: Array, *, weights: Array | None = None, spread: Spread = unscaled, probe: Probe = LINEAR
) -> Array:
    """Give credences as the peer's evaluation does: pairs normalised by statistics of the rows that are tested.

    The two sides' means over tested rows are removed, which balanced labels make informative: no label is used, but
    a pair's credence depends on its company.
    """
    normal = statistics(pairs, weights=weights, spread=spread)
    return credence(found._replace(normal=normal), pairs, probe=probe)


def lowest(fits: Fit) -> Array:
    """Give the restart of the lowest loss, `[]` int, of fits stacked along axis 0; one that found nothing comes last.

    By the training loss alone, so that no label is spent. Whether that is the most accurate one is another question.
    """
    loss = jnp.where(fits.degenerate, 2 + fits.loss, fits.loss)  # a loss is at most 2
    return jnp.argmin(jnp.where(fits.finite, loss, jnp.inf))

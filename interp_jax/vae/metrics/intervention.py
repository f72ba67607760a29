"""Metrics that choose factors and look at the codes: BetaVAE score, FactorVAE score, interventional robustness.

The first two draw some 2.9 million images a model. Where the factors form a finite lattice the codes of all images are
computed once, and looked up: `code_of(factors [F], key) -> [D]` is a function of ONE combination of factors.

    table = jax.lax.map(lambda i: encode(params, render(factors(sizes, i)))[0], jnp.arange(count), batch_size=1000)
    beta_vae(lookup(table, sizes), sizes, key)

`lookup_sampled` draws fresh noise each time, for the sampled representation; a `code_of` that renders and encodes does
too, where images have nuisance. Under `vmap` over models with one key, all models see the same draws, made once.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data import factors as sets
from interp_jax.data.factors import Sizes
from interp_jax.linear import logistic
from interp_jax.linear.fits import LinearFit, accuracy, predict

CodeOf = Callable[[Array, Key], Array]
"""`code_of(factors [F] int32, key) -> code [D]`; a deterministic one ignores the key."""
Fit = Callable[[Array, Array], LinearFit]
"""`fit(x [N, D], y [N, K] one-hot)`."""


def lookup(codes: Array, sizes: Sizes) -> CodeOf:
    """Make the function that looks codes up. codes: `[count(sizes), D]`, in the order of `factors.index`."""
    _whole_lattice(codes, sizes)
    return lambda factors, key: codes[sets.index(sizes, factors)]


def lookup_sampled(mean: Array, log_var: Array, sizes: Sizes) -> CodeOf:
    """Make the function that draws from the posterior of an image. mean, log_var: `[count(sizes), D]`."""
    _whole_lattice(mean, sizes)
    chex.assert_equal_shape([mean, log_var])

    def code(factors: Array, key: Key) -> Array:
        row = sets.index(sizes, factors)
        return mean[row] + jnp.exp(0.5 * log_var[row]) * jax.random.normal(key, mean.shape[1:], mean.dtype)

    return code


class BetaVAE(NamedTuple):
    """score: `[]`, accuracy on votes of its own. train: `[]`, accuracy in sample. converged: `[]` bool, of the fit."""

    score: Array
    train: Array
    converged: Array


def beta_vae(
    code_of: CodeOf,
    sizes: Sizes,
    key: Key,
    *,
    batch: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    fit: Fit | None = None,
    chunk: int = 500,
) -> BetaVAE:
    """Give the accuracy of a linear guess which factor two halves of a batch share (Higgins et al. 2017, section 3).

    A point is `mean_batch |z_1 - z_2|`, where the two of a pair agree in one factor, drawn uniformly. Perfect codes
    have 1, and so do their rotations where one factor's difference stays apart (it is a known weakness of this score).
    Permutations change nothing; scale does, through the penalty of the fit. NaN if a code is not finite.

    fit: by default softmax regression at C = 1, today's default of scikit-learn, which the peer calls by its default.
    That was one-versus-rest with a penalised intercept before scikit-learn 0.22 (recalled, not run). chunk: votes whose
    codes are in memory at once.
    """
    checks.whole(1, batch=batch, train=train, test=test, chunk=chunk)
    fit = fit or (lambda x, y: logistic.fit_softmax(x, y, 1.0))

    def vote(key: Key) -> tuple[Array, Array]:
        which = jax.random.randint(keys.stream(key, "factor"), (), 0, len(sizes))
        pair = sets.sample_pairs(keys.stream(key, "pairs"), sizes, batch, which)
        first, second = (_codes(code_of, each, keys.stream(key, name)) for each, name in zip(pair, "ab", strict=True))
        return jnp.mean(jnp.abs(first - second), 0), which

    points, which = _votes(vote, key, train + test, chunk)
    found = fit(points[:train], jax.nn.one_hot(which[:train], len(sizes), dtype=points.dtype))
    hits = accuracy(predict(found, points[train:]), which[train:])
    return BetaVAE(hits, accuracy(predict(found, points[:train]), which[:train]), found.converged)


class FactorVAE(NamedTuple):
    """score, train: `[]`, accuracies. active: `[D]` bool, latents kept. votes: `[D, F]`, of the training part."""

    score: Array
    train: Array
    active: Array
    votes: Array


def factor_vae(
    code_of: CodeOf,
    sizes: Sizes,
    key: Key,
    *,
    batch: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    variance: int = 10_000,
    smallest: ArrayLike = 0.05,
    undefined: ArrayLike = jnp.nan,
    chunk: int = 500,
) -> FactorVAE:
    """Give the accuracy of a majority vote which factor a batch shares (Kim and Mnih 2018, section 4 and figure 2).

    A vote is the latent whose variance over the batch, relative to its variance over `variance` images, is least. Each
    latent stands for the factor it was voted for most often (ties: the first). Perfect codes have 1, and permutation,
    sign and scale change nothing but the pruning: latents of standard deviation below `smallest` cannot be voted for.
    .05 is the study's; the peer's own default is 0. A code that is not finite gives NaN.

    undefined: the score without an active latent; the peer gives 0. The peer reports D as its number of active
    latents, whatever it pruned; `active` is the mask.
    """
    checks.whole(2, batch=batch, variance=variance)
    checks.whole(1, train=train, test=test, chunk=chunk)
    drawn = sets.sample_factors(keys.stream(key, "variance"), sizes, variance)
    overall = jnp.var(_codes(code_of, drawn, keys.stream(key, "variance noise")), 0, ddof=1)
    active = jnp.sqrt(overall) >= smallest

    def vote(key: Key) -> tuple[Array, Array]:
        which = jax.random.randint(keys.stream(key, "factor"), (), 0, len(sizes))
        held = sets.sample_fixed(keys.stream(key, "held"), sizes, batch, which)
        local = jnp.var(_codes(code_of, held, keys.stream(key, "noise")), 0, ddof=1)
        ratio = local / jnp.where(overall > 0, overall, 1)
        return jnp.argmin(jnp.where(active, ratio, jnp.inf)), which

    latent, which = _votes(vote, keys.stream(key, "votes"), train + test, chunk)
    dims = overall.shape[0]

    def count(part: slice) -> Array:
        one_hot = jax.nn.one_hot(latent[part], dims), jax.nn.one_hot(which[part], len(sizes))
        return matmul(one_hot[0].T, one_hot[1])

    votes, others = count(slice(train)), count(slice(train, None))
    chosen = jax.nn.one_hot(jnp.argmax(votes, 1), len(sizes))
    defined = jnp.where(jnp.any(active), 1.0, undefined)
    defined = jnp.where(jnp.all(jnp.isfinite(overall)), defined, jnp.nan)
    hits = [jnp.where(defined == 1, jnp.sum(v * chosen) / jnp.sum(v), defined) for v in (others, votes)]
    return FactorVAE(hits[0], hits[1], active, votes)


def _whole_lattice(codes: Array, sizes: Sizes) -> None:
    chex.assert_rank(codes, 2)
    if codes.shape[0] != sets.count(sizes):
        raise ValueError(f"want codes of all {sets.count(sizes)} combinations of {sizes=}, got {codes.shape[0]}")


def _codes(code_of: CodeOf, factors: Array, key: Key) -> Array:
    """Give the codes `[n, D]` of combinations `[n, F]`, each with a key of its own."""
    each = jax.vmap(lambda i: keys.at(key, i))(jnp.arange(factors.shape[0]))
    return jax.vmap(code_of)(factors, each)


def _votes(vote: Callable[[Key], tuple[Array, Array]], key: Key, number: int, chunk: int) -> tuple[Array, Array]:
    return jax.lax.map(lambda i: vote(keys.at(key, i)), jnp.arange(number), batch_size=min(chunk, number))

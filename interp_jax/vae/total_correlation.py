"""Total correlation of a VAE's codes by its posteriors, `KL(q(z) || prod_d q(z_d))`, in nats; and the beta-TCVAE.

The aggregate posterior `q(z) = mean over examples of q(z | x)` is estimated as a weighted sum of posteriors; what
weights decides what comes out. A minibatch has B examples of N.

    weights               w_ii        w_ij                               the estimate
    minibatch_weighted    1 / (N B)   1 / (N B)                          (D - 1) log N too high if posteriors overlap
    unweighted            1           1                                  less by (D - 1) log(N B): below zero
    stratified            1 / N       1 / (B - 1), less for one of them  tends to the truth as B grows
    balanced              1 / N       (1 - 1 / N) / (B - 1)              the same; exactly q at B = N

`fresh_sample` takes the density from the posteriors of a large sample of other examples.

Bias measured on a linear Gaussian encoder of fresh Gaussian data, N = 737,280, as estimate minus the closed form (8 to
200 seeds; the last digit is uncertain by a few): 10 latents of variance 1 whose posteriors are wide (sd .9, truth .07)
or narrow (sd .3, truth 1.59).

                          wide, B = 16       64      256     1024     narrow, B = 16       64      256     1024
    minibatch_weighted          121.66   121.62   121.60   121.60             127.90   127.50   126.44   125.24
    unweighted                  -24.89   -37.41   -49.90   -62.38             -18.65   -31.53   -45.06   -58.74
    stratified, balanced         -.057    -.018    -.007    -.001               -.35    -2.06    -1.97    -1.44

    fresh_sample, N =            1,000   10,000  100,000                       1,000   10,000  100,000
                                 -.001     .000     .008                       -5.30    -2.06     -.65

So no batch of the study's 64 measures the total correlation of informative codes, and a fresh sample is to be trusted
where a ten times larger one agrees with it. In float32 an estimate is within 3e-5 of its float64 self (B = 64, D = 10).
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike
from interp_jax.train.trainer import Loss, Metrics
from interp_jax.vae.objectives import Decode, Encode, Likelihood, Terms, bernoulli, regularised

Weights = Callable[[int], Array]
"""`B -> [B, B]`, log weights: row i is the mixture in which sample i is evaluated, column j is posterior j's."""


class Aggregate(NamedTuple):
    """Log densities of a code under the aggregate posterior. joint: scalar, log q(z). marginals: `[D]`, log q(z_d)."""

    joint: Array
    marginals: Array


class Decomposition(NamedTuple):
    """The three parts of the mean KL (Chen et al. 2018, eq. 2), scalars, estimated on a batch.

    mutual_information: of example and code, "index-code". total_correlation: of the latents. dimension_wise_kl: of
    each latent's marginal from the prior, summed. Their sum is `mean(log q(z | x) - log p(z))`, whatever the weights.
    """

    mutual_information: Array
    total_correlation: Array
    dimension_wise_kl: Array


def aggregate(z: Array, mean: Array, log_var: Array, log_weights: Array) -> Aggregate:
    """Evaluate ONE code `[D]` under the mixture of N Gaussians `mean, log_var [N, D]` with `log_weights [N]`."""
    chex.assert_rank([z, log_weights], 1)
    chex.assert_equal_shape([mean, log_var])
    each = log_normal(jnp.broadcast_to(z, mean.shape), mean, log_var)
    return Aggregate(logsumexp(log_weights + each.sum(1)), logsumexp(log_weights[:, None] + each, axis=0))


def log_normal(z: Array, mean: Array, log_var: Array) -> Array:
    """Log density of each entry of `z` under `N(mean, exp(log_var))`, all of one shape."""
    return -0.5 * (jnp.square(z - mean) * jnp.exp(-log_var) + log_var + np.log(2 * np.pi))


def minibatch_weighted(size: ArrayLike) -> Weights:
    """Make the weights `1 / (N B)` of minibatch-weighted sampling (Chen et al. 2018, appendix C.1), N the `size`.

    A row sums to 1 / N, not to one: a log density comes out log N too low where all posteriors overlap, and log B too
    low where a code's own posterior is all there is. With D marginals to one joint the total correlation is too high by
    (D - 1) times as much. The gradient does not depend on N.
    """
    checks.positive(size=size)
    return lambda batch: jnp.full((batch, batch), -(jnp.log(size) + np.log(batch)))


def unweighted(batch: int) -> Array:
    """Give weights of one: minibatch-weighted without its constants, as disentanglement_lib trains (log weights 0).

    The total correlation is then (D - 1) log(N B) less than with them: about -(D - 1) log B when posteriors overlap.
    For training no matter; values are negative and do not compare across batch sizes.
    """
    return jnp.zeros((batch, batch))


def stratified(size: ArrayLike) -> Weights:
    """Make the weights of minibatch stratified sampling (Chen et al. 2018, appendix C.2) for N = `size` examples.

    With M = B - 1 others in the batch: 1 / N for the sample's own posterior, (N - M) / (N M) for one of the others
    (the next in the batch), 1 / M for the rest. Each row sums to one, and the mixture is unbiased for q(z) if the
    batch holds different examples. N may be `jnp.inf`: fresh data, the own posterior left out. Needs N >= B >= 2; NaN
    if a traced N is less.

    Differs from the authors' code and its copies (disentangling-vae, pythae), which fill the flat matrix with stride B
    instead of B + 1: the first COLUMN, not the diagonal, gets 1 / N, and a sample's own posterior weighs 1 / M.
    """
    checks.positive(size=size)

    def weights(batch: int) -> Array:
        share, own = _share(size, batch), jnp.eye(batch, dtype=bool)
        rest = jnp.where(jnp.roll(own, 1, axis=1), 1 / (batch - 1) - share, 1 / (batch - 1))
        return jnp.log(jnp.where(own, share, rest))

    return weights


def balanced(size: ArrayLike) -> Weights:
    """Make weights that are unbiased as `stratified`'s, with the others all alike: `(1 - 1 / N) / (B - 1)`.

    Ours: of all weights with 1 / N for the own posterior and sum 1 they have the least variance, and at B = N they give
    q(z) itself, which the paper's do not.
    """
    checks.positive(size=size)

    def weights(batch: int) -> Array:
        share = _share(size, batch)
        return jnp.log(jnp.where(jnp.eye(batch, dtype=bool), share, (1 - share) / (batch - 1)))

    return weights


def decompose(samples: Array, mean: Array, log_var: Array, weights: Weights) -> Decomposition:
    """Estimate the parts of the KL on a batch: `samples [B, D]` drawn from posteriors `mean, log_var [B, D]`.

    The logarithm of an estimate is low on average (Jensen), more so for the joint density: with weights that sum to one
    the total correlation is low and the mutual information high, by O(1 / B). While few posteriors overlap it is off by
    many nats, either way.
    """
    chex.assert_rank(samples, 2)
    chex.assert_equal_shape([samples, mean, log_var])
    table = weights(samples.shape[0]).astype(samples.dtype)
    joint, marginals = jax.vmap(aggregate, (0, None, None, 0))(samples, mean, log_var, table)
    own = log_normal(samples, mean, log_var).sum(1)
    prior = log_normal(samples, jnp.zeros_like(samples), jnp.zeros_like(samples)).sum(1)
    product = marginals.sum(1)
    return Decomposition((own - joint).mean(), (joint - product).mean(), (product - prior).mean())


def fresh_sample(samples: Array, mean: Array, log_var: Array, *, block: int = 32) -> Array:
    """Estimate the total correlation of codes `[S, D]` by the posteriors `mean, log_var [N, D]` of OTHER examples.

    Mean over the codes of `log q(z) - sum over d of log q(z_d)`, with q the plain mean of the N posteriors. Low by
    O(1 / N) (Jensen), and by much if N posteriors do not cover the codes (narrow posteriors in many latents); not so if
    the codes' own posteriors are among the N. `block` codes at once: memory `[block, N, D]`.
    """
    chex.assert_rank([samples, mean, log_var], 2)
    chex.assert_equal_shape([mean, log_var])
    checks.whole(1, block=block)
    even = jnp.full(mean.shape[0], -np.log(mean.shape[0]), samples.dtype)

    def one(z: Array) -> Array:
        joint, marginals = aggregate(z, mean, log_var, even)
        return joint - marginals.sum()

    return jax.lax.map(one, samples, batch_size=min(block, samples.shape[0])).mean()


def beta_tc_vae(
    encode: Encode, decode: Decode, *, beta: ArrayLike, weights: Weights, likelihood: Likelihood = bernoulli
) -> Loss:
    """Make the loss of the beta-TCVAE: reconstruction + KL + (beta - 1) TC (Chen et al. 2018, alpha = gamma = 1).

    The KL is in closed form as in disentanglement_lib, where the authors' code takes its sampled value; so beta 1 is
    the ELBO. The study has `weights=unweighted`; `stratified(N)` has a total correlation that can be read. Reports
    also the `Decomposition`.
    """
    checks.not_negative(beta=beta)

    def penalty(terms: Terms) -> tuple[Array, Metrics]:
        parts = decompose(terms.sample, terms.mean, terms.log_var, weights)
        return terms.kl.sum(1).mean() + (beta - 1) * parts.total_correlation, parts._asdict()

    return regularised(encode, decode, penalty, likelihood=likelihood)


def _share(size: ArrayLike, batch: int) -> Array:
    """Give 1 / N, the weight of one example in the aggregate posterior; NaN where N is less than the batch."""
    if batch < 2:
        raise ValueError(f"want a batch of at least 2 examples, got {batch}")
    checks.entries(batch, jnp.inf, size=size)
    share = 1 / jnp.asarray(size, float)
    return jnp.where(share <= 1 / batch, share, jnp.nan)

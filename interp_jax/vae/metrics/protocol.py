"""All scores of one model's representation by the study's protocol (Locatello et al. 2019, appendix)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import keys
from interp_jax.core.information import gaussian_total_correlation
from interp_jax.core.types import Array, Key
from interp_jax.data import factors as sets
from interp_jax.data.factors import Sizes
from interp_jax.vae.metrics.histogram import (
    histogram_information,
    mean_pairwise_information,
    modularity,
    mutual_information_gap,
)
from interp_jax.vae.metrics.importance import dci_trees
from interp_jax.vae.metrics.intervention import CodeOf, beta_vae, factor_vae
from interp_jax.vae.metrics.margins import sap
from interp_jax.vae.metrics.neighbours import infomec
from interp_jax.vae.metrics.readout import downstream, explicitness
from interp_jax.vae.metrics.robustness import irs
from interp_jax.vae.metrics.unsupervised import wasserstein_correlation

SUPERVISED = (
    "beta_vae", "factor_vae", "mig", "dci", "modularity", "sap", "irs", "infom", "infoc",
)  # fmt: skip
"""The scores of disentanglement among `scores`, each 1 for perfect codes (but SAP) and better the larger."""
UNSUPERVISED = ("total_correlation", "wasserstein", "mean_pairwise_information")
"""Those that need no factors: better the smaller."""


NAMES = (
    *SUPERVISED, *UNSUPERVISED, "dci_completeness", "dci_informativeness", "explicitness", "infoe", "downstream",
)  # fmt: skip
"""All scores, of `downstream` one for each number of labels."""
TITLES = {
    "beta_vae": "BetaVAE", "factor_vae": "FactorVAE", "mig": "MIG", "dci": "DCI", "sap": "SAP", "irs": "IRS",
    "udr": "UDR", "infom": "InfoM", "infoc": "InfoC", "infoe": "InfoE", "elbo": "ELBO", "kl": "KL",
}  # fmt: skip
"""What scores are called, where it is not their name with blanks for underscores."""


def title(name: str) -> str:
    """Give what a score is called.

    >>> title("mig"), title("total_correlation")
    ('MIG', 'total correlation')
    """
    return TITLES.get(name, name.replace("_", " "))


class Protocol(NamedTuple):
    """How many images: train and test examples, votes of the BetaVAE and FactorVAE scores to train and to test on.

    labels: how many labelled examples the classifiers of `downstream` have, one score each.
    """

    train: int = 10_000
    test: int = 5_000
    votes: int = 10_000
    test_votes: int = 5_000
    labels: tuple[int, ...] = (10, 100, 1000, 10_000)


def scores(code_of: CodeOf, sizes: Sizes, key: Key, protocol: Protocol | None = None) -> dict[str, Array]:
    """Score one representation: scalars by name. With one key, all models see the same images.

    code_of: `(factors [F], key) -> code [D]`; `lookup` and `lookup_sampled` make it from the codes of all images.

    `dci`, `dci_completeness` and `dci_informativeness` (test accuracy) are of trees boosted in JAX (`dci_trees`), not
    of the study's scikit-learn (`dci`). `modularity` is over all latents, `explicitness` the area under the curve. A
    score that is undefined for these codes is NaN.
    """
    p = protocol or Protocol()
    votes = {"train": p.votes, "test": p.test_votes}
    many = p.train + p.test
    drawn = sets.sample_factors(keys.stream(key, "factors"), sizes, many)
    noise = jax.vmap(lambda i: keys.at(keys.stream(key, "noise"), i))(jnp.arange(many))
    codes = jax.vmap(code_of)(drawn, noise)
    train, test = (codes[: p.train], drawn[: p.train]), (codes[p.train :], drawn[p.train :])
    information = histogram_information(*train, sizes)
    trees = dci_trees(*train, *test, sizes)
    mec = infomec(*train, sizes)
    covariance = jnp.cov(train[0], rowvar=False)
    return {
        "beta_vae": beta_vae(code_of, sizes, keys.stream(key, "beta_vae"), **votes).score,
        "factor_vae": factor_vae(code_of, sizes, keys.stream(key, "factor_vae"), **votes).score,
        "mig": mutual_information_gap(information).score,
        "dci": trees.disentanglement,
        "dci_completeness": trees.completeness,
        "dci_informativeness": trees.test,
        "modularity": modularity(information.matrix).score,
        "explicitness": explicitness(*train, *test, sizes).score,
        "sap": sap(*train, *test, sizes).score,
        "irs": irs(*train, sizes).score,
        "infom": mec.infom,
        "infoc": mec.infoc,
        "infoe": mec.infoe,
        "total_correlation": gaussian_total_correlation(covariance),
        "wasserstein": wasserstein_correlation(covariance).normalised,
        "mean_pairwise_information": mean_pairwise_information(train[0]),
        **{f"downstream_{n}": downstream(codes[:n], drawn[:n], *test, sizes).score for n in p.labels if n <= p.train},
    }

"""Disentanglement metrics: `metrics.mig(codes [N, D], factors [N, F], sizes)` and its kin, one model at a time."""

from interp_jax.vae.metrics.histogram import (
    histogram_information,
    mean_pairwise_information,
    mig,
    modularity,
    mutual_information_gap,
)
from interp_jax.vae.metrics.importance import dci, dci_from_importance, dci_lasso, dci_trees
from interp_jax.vae.metrics.intervention import beta_vae, factor_vae, lookup, lookup_sampled
from interp_jax.vae.metrics.margins import sap, sap_continuous
from interp_jax.vae.metrics.neighbours import (
    discrete_information,
    in_range,
    infoc,
    infoe,
    infom,
    infomec,
    neighbour_information,
)
from interp_jax.vae.metrics.readout import downstream, explicitness
from interp_jax.vae.metrics.robustness import irs
from interp_jax.vae.metrics.unsupervised import (
    active_by_kl,
    active_by_variance,
    lasso,
    spearman,
    udr,
    wasserstein_correlation,
)

__all__ = [
    "active_by_kl",
    "active_by_variance",
    "beta_vae",
    "dci",
    "dci_from_importance",
    "dci_lasso",
    "dci_trees",
    "discrete_information",
    "downstream",
    "explicitness",
    "factor_vae",
    "histogram_information",
    "in_range",
    "infoc",
    "infoe",
    "infom",
    "infomec",
    "irs",
    "lasso",
    "lookup",
    "lookup_sampled",
    "mean_pairwise_information",
    "mig",
    "modularity",
    "mutual_information_gap",
    "neighbour_information",
    "sap",
    "sap_continuous",
    "spearman",
    "udr",
    "wasserstein_correlation",
]

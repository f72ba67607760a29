"""Metrics of concept models: arrays of one model in, `representations [N, k]` or `[N, k, m]` and `concepts [N, k]`."""

from interp_jax.concepts.metrics.accuracy import (
    concept_accuracy,
    concept_auc,
    intervention_score,
    task_accuracy,
    task_auc,
)
from interp_jax.concepts.metrics.alignment import concept_alignment, homogeneity
from interp_jax.concepts.metrics.completeness import completeness, completeness_score
from interp_jax.concepts.metrics.conditional import conditional_leakage
from interp_jax.concepts.metrics.leakage import concept_task_leakage, interconcept_leakage
from interp_jax.concepts.metrics.purity import niche_impurity, oracle_impurity, oracle_matrix, purity_matrix
from interp_jax.concepts.metrics.separability import separability, similarity_matrix

__all__ = [
    "completeness",
    "completeness_score",
    "concept_accuracy",
    "concept_alignment",
    "concept_auc",
    "concept_task_leakage",
    "conditional_leakage",
    "homogeneity",
    "interconcept_leakage",
    "intervention_score",
    "niche_impurity",
    "oracle_impurity",
    "oracle_matrix",
    "purity_matrix",
    "separability",
    "similarity_matrix",
    "task_accuracy",
    "task_auc",
]

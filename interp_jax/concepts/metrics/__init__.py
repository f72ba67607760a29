"""Metrics of concept models: arrays of one model in, `representations [N, k]` or `[N, k, m]` and `concepts [N, k]`.

The caller jits, and vmaps over models. CPU seconds a model, compiled, scalar representations (embeddings of 16 units in
brackets), on one core of a busy machine:

    rows, concepts              1,000, 3     1,000, 12          10,000, 3    10,000, 12
    oracle_impurity             .01          .13 (.18)          .11          1.3
    niche_impurity              .02          .05 (.41)          .12          .44
    concept_alignment           .06          .28 (2.0)          1.3          5.8
    concept_task_leakage        .03          .11 (.25)          3.4          about 14
    interconcept_leakage        .08          1.0 (2.8)          8.7          about 110
    conditional_leakage         .02          .34 (1.5)          .08          .71

Leakage by neighbours costs N^2 for each concept or pair: give it some 1,000 rows.
"""

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

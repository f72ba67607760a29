"""Inference over seeds under one name: `from interp_jax.core import statistics`.

The replication unit is an argument of thought, not of code: give these functions one value a replicate.

- `intervals`: student, paired, welch, equivalence, proportion, p_value, at_level
- `bootstrap`: bootstrap, clustered, from 20 clusters up
- `multiplicity`: holm, max_t, max_t_two
- `correlation`: spearman, kendall, slope
- `variance`: nested_components
"""

from interp_jax.core.bootstrap import bootstrap
from interp_jax.core.correlation import kendall, slope, spearman
from interp_jax.core.intervals import (
    Equivalence,
    Interval,
    at_level,
    equivalence,
    p_value,
    paired,
    proportion,
    student,
    welch,
)
from interp_jax.core.multiplicity import MaxT, holm, max_t, max_t_two
from interp_jax.core.variance import Components, nested_components

__all__ = [
    "Components",
    "Equivalence",
    "Interval",
    "MaxT",
    "at_level",
    "bootstrap",
    "equivalence",
    "holm",
    "kendall",
    "max_t",
    "max_t_two",
    "nested_components",
    "p_value",
    "paired",
    "proportion",
    "slope",
    "spearman",
    "student",
    "welch",
]

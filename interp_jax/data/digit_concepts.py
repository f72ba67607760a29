"""Images of digits with three concepts that leave open which digit they show, by design."""

import math

import jax.numpy as jnp
import numpy as np

from interp_jax.data import images
from interp_jax.data.concept_sets import ConceptSet

CONCEPTS = {"odd": (1, 3, 5, 7, 9), "five or more": (5, 6, 7, 8, 9), "closed loop": (0, 6, 8, 9)}
"""Of which digits each is true. 2 and 4, 6 and 8, 1 and 3, 5 and 7 have the same; 0 and 9 have their own."""
CLASSES = 10
OPEN = 0.8 * math.log(2)
"""H(digit | concepts) in nats, of ten digits that are equally frequent."""


def load(name: str) -> ConceptSet:
    """Load all images of a data set of `images.by_name`, of both its parts, with concepts; labels are the digits."""
    parts = images.by_name(name)
    pixels, digits = (np.concatenate([getattr(part, field) for part in parts]) for field in ("images", "labels"))
    return ConceptSet(jnp.asarray(pixels), jnp.asarray(concepts(digits)), jnp.asarray(digits))


def concepts(digits: np.ndarray) -> np.ndarray:
    """Give the concepts of digits `[N]`: `[N, 3]` float32.

    >>> concepts(np.array([2, 4, 9])).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    return np.stack([np.isin(digits, of) for of in CONCEPTS.values()], 1).astype(np.float32)

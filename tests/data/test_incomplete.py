import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data import incomplete
from interp_jax.data.concept_sets import ConceptSet

DATA = ConceptSet(jnp.zeros((2, 3)), jnp.arange(14.0).reshape(2, 7), jnp.arange(2))
GROUPS = ((1, 2, 3), (5, 6))


def test_columns_are_kept_in_their_order_with_their_groups():
    found, groups = incomplete.keep(DATA, (6, 5, 0, 2), GROUPS)
    np.testing.assert_array_equal(found.concepts, DATA.concepts[:, [6, 5, 0, 2]])
    assert groups == ((1, 0),)
    assert found.inputs is DATA.inputs


def test_all_columns_change_nothing():
    found, groups = incomplete.keep(DATA, range(7), GROUPS)
    np.testing.assert_array_equal(found.concepts, DATA.concepts)
    assert groups == GROUPS


@pytest.mark.parametrize("columns", [(), (0, 0), (7,), (-1,)])
def test_columns_that_are_not_there_are_named(columns):
    with pytest.raises(ValueError, match=r"want different concepts among 0 \.\. 6"):
        incomplete.keep(DATA, columns)


def test_a_part_of_a_group_is_refused():
    with pytest.raises(ValueError, match=r"want all of a group of concepts, one or none, got 2 of \(1, 2, 3\)"):
        incomplete.keep(DATA, (1, 2), GROUPS)


def test_shares_are_nested_and_keep_groups_whole(key):
    shares = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    chosen = [set(incomplete.some(key, share, 7, GROUPS)) for share in shares]
    units = [{1, 2, 3}, {5, 6}, {0}, {4}]
    for smaller, larger in itertools.pairwise(chosen):
        assert smaller <= larger
    for found, count in zip(chosen, (1, 1, 2, 2, 3, 4), strict=True):
        assert sum(unit <= found for unit in units) == count
        assert all(unit <= found or not unit & found for unit in units)
    assert len({incomplete.some(k, 0.5, 7, GROUPS) for k in jax.random.split(key, 20)}) > 3

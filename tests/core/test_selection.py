import numpy as np
import pytest

from interp_jax.core.selection import best_of_others, picked


def test_the_best_of_the_others_is_chosen():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 7))
    for i, chosen in enumerate(best_of_others(values)):
        others = [j for j in range(7) if j != i]
        assert chosen == max(range(4), key=lambda k, others=others: sum(values[k, j] for j in others))


def test_the_own_value_has_no_part_in_the_choice():
    values = np.random.default_rng(1).normal(size=(3, 5))
    changed = values.copy()
    changed[:, 2] = np.nan
    assert best_of_others(values)[2] == best_of_others(changed)[2]
    noise = np.random.default_rng(2).normal(size=(6, 4000, 4))
    mean = np.mean([picked(each.T, best_of_others(each.T)) for each in noise.reshape(-1, 4, 6)])
    assert abs(mean) < 4 / np.sqrt(noise.size / 6)  # of candidates that are all the same the choice gains nothing


def test_what_is_undefined_is_not_chosen():
    values = np.array([[0.5, 0.1, np.nan], [0.0, 0.3, 0.3]])
    assert best_of_others(values).tolist() == [1, 1, 0]
    np.testing.assert_array_equal(picked(values, [1, 1, 0]), [0.0, 0.3, np.nan])
    assert best_of_others(np.full((2, 3), np.nan)).tolist() == [-1, -1, -1]
    assert best_of_others([[1.0], [2.0]]).tolist() == [-1]
    assert np.isnan(picked([[1.0], [2.0]], [-1])).all()


def test_other_shapes_are_refused():
    for bad in ([1.0, 2.0], np.zeros((0, 3))):
        with pytest.raises(ValueError, match="want values"):
            best_of_others(bad)

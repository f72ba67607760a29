import pytest

from interp_jax.train import table


def test_grid_puts_new_seeds_last():
    small, large = table.grid({"beta": [1, 4], "lr": [1e-3]}, 2), table.grid({"beta": [1, 4], "lr": [1e-3]}, 3)
    assert large[:4] == small
    assert [run.seed for run in large] == [0, 0, 1, 1, 2, 2]
    assert large[1].hyperparameters == {"beta": 4, "lr": 1e-3}


def test_ids_tell_numbers_apart_to_the_last_bit():
    near = table.grid({"lr": [0.1, 0.1 + 2**-56]}, 1)
    assert near[0].id == "lr=0.1,seed=0"
    assert near[0].id != near[1].id


def test_seeds_may_be_named():
    assert [run.id for run in table.grid({}, [7, 3])] == ["seed=7", "seed=3"]


@pytest.mark.parametrize(
    ("hypers", "seeds", "message"),
    [
        ({"beta": [1]}, 0, "want an integer seeds >= 1, got seeds=0"),
        ({"beta": [1]}, -2, "want an integer seeds >= 1, got seeds=-2"),
        ({"beta": []}, 1, "want at least one value of each hyperparameter, got none of \\['beta'\\]"),
        ({"beta": [1, 1]}, 1, "want runs with different ids, got \\['beta=1,seed=0'\\] more than once"),
        ({}, [], "want at least one run"),
    ],
)
def test_bad_tables_are_refused(hypers, seeds, message):
    with pytest.raises(ValueError, match=message):
        table.grid(hypers, seeds)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.runs.store import StoreError
from interp_jax.train import models, table
from interp_jax.train.sweep import sweep
from tests.train import toy


def test_models_are_measured_in_the_order_asked_for_and_not_again(tmp_path):
    data = toy.data()
    trained = {
        name: sweep(toy.make, table.grid({"lr": [0.1, 0.2 + shift]}, 2), data, steps=4, chunk=2)
        for shift, name in enumerate(("one", "two"))
    }
    order = [("two", table.run({"lr": 0.1}, 1)), ("one", table.run({"lr": 0.2}, 0)), ("two", table.run({"lr": 1.2}, 1))]
    traced = []

    def measure(key, given, model):
        traced.append(1)
        params = models.pick(given[0], model)
        return {"w": params["w"], "of data": given[1].sum() + params["b"][0], "noise": jax.random.uniform(key)}

    kept = {"config": {"what": "w"}, "out": tmp_path / "scores"}
    found = models.measured(measure, trained, order, jnp.arange(3.0), **kept)
    for i, (name, run) in enumerate(order):
        params = trained[name].state(run).params
        np.testing.assert_array_equal(found["w"][i], params["w"])
        np.testing.assert_allclose(found["of data"][i], 3 + params["b"][0], rtol=1e-6)
    assert found["noise"][0] == found["noise"][2] != found["noise"][1]  # the seed's
    before = (tmp_path / "scores" / "manifest.json").stat().st_mtime_ns
    again = models.measured(measure, trained, order, jnp.arange(3.0), **kept)
    np.testing.assert_array_equal(again["w"], found["w"])
    assert (tmp_path / "scores" / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(StoreError):
        models.measured(measure, trained, order, jnp.arange(4.0), **kept)


def test_what_a_seed_is_given_is_computed_once(tmp_path):
    def find(key, data):
        return {"noise": jax.random.uniform(key, (2,)), "total": data.sum()}

    kept = {"config": {"what": "noise"}, "out": tmp_path / "noise"}
    found = models.found(models.by_seed(find, 3, jnp.arange(3.0), **kept))
    assert found["noise"].shape == (3, 2)
    assert len(np.unique(found["noise"])) == 6
    np.testing.assert_array_equal(found["total"], [3, 3, 3])
    again = models.by_seed(find, 3, jnp.arange(3.0), **kept)
    np.testing.assert_array_equal(models.found(again)["noise"], found["noise"])


def test_any_part_of_a_state_is_measured(tmp_path):
    done = sweep(toy.make, table.grid({"lr": [0.1]}, 2), toy.data(), steps=2, chunk=2)
    order = [("one", run) for run in done.runs]
    found = models.measured(
        lambda key, given, model: models.pick(given[0], model).sum(), {"one": done}, order, jnp.zeros(1), config={},
        out=tmp_path, take=lambda state: 2 * state.params["w"],
    )  # fmt: skip
    np.testing.assert_allclose(found, [2 * done.state(run).params["w"].sum() for run in done.runs], rtol=1e-6)

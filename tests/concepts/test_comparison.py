"""What is measured of a run, and how models share programs; training itself is tested with the experiment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import comparison
from interp_jax.concepts.comparison import Nets
from interp_jax.data import concept_named
from interp_jax.train.trainer import Held

NETS = Nets(size=2, hidden=4, epochs=1, batch=1050)


@pytest.fixture(scope="module")
def stack():
    return concept_named.stacks({"dot": concept_named.load("dot", fresh=2000)})[0]


def cell(member):
    return {"set": jnp.float32(0), "member": jnp.float32(member), "split": jnp.float32(0)}


def test_accuracies_are_those_of_the_head_at_both_thresholds(stack, key):
    """By hand in float64: params of a bottleneck, the three that it can be."""
    kind, data = stack.kind, stack.examples
    params = comparison.build(NETS, "cbm", kind, 0).init(key)
    params["head"] = {"kernel": jnp.array([[1.0], [-0.7]]), "bias": jnp.array([0.2])}

    @jax.jit
    def measure(member):
        state = comparison.trainer(NETS, "cbm", kind, cell(0)).init(key).state._replace(params=params)
        return comparison.measure(NETS, "cbm", kind, Held(state, cell(0) | {"member": member}), data)

    net = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["encoder"])

    def logits(x):
        for i in range(3):
            x = x @ net[f"UniformDense_{i}"]["kernel"] + net[f"UniformDense_{i}"]["bias"]
            x = np.where(x < 0, 0.01 * x, x) if i < 2 else x
        return x

    tells = (lambda z: 1.0 * (z > 0), lambda z: 1 / (1 + np.exp(-z)), lambda z: z)
    for member, tell in enumerate(tells):
        found = measure(jnp.float32(member))
        for part, names in ((data.fresh, ("task",)), (data.test, ("task_test", "task_half"))):
            z = logits(np.asarray(part.inputs[0], np.float64))
            task = tell(z) @ [1.0, -0.7] + 0.2
            for name in names:
                right = (task > (0.5 if name == "task_half" else 0)) == np.asarray(part.labels[0])
                assert found[name] == pytest.approx(right.mean(), abs=1.5e-3)
        z = logits(np.asarray(data.fresh.inputs[0], np.float64))
        right = (z > 0) == (np.asarray(data.fresh.concepts[0]) > 0)
        assert found["concepts"] == pytest.approx(right.mean(), abs=1e-3)
        np.testing.assert_allclose(found["logits"], z > 0 if member == 0 else z, atol=1e-4)


def test_the_net_without_concepts_is_not_taught_any(stack, key):
    """Its loss of concepts has no weight: other concept labels give the same net."""
    kind, data = stack.kind, stack.examples
    other = data._replace(train=data.train._replace(concepts=1 - data.train.concepts))

    @jax.jit
    def after(member, data):
        trainer = comparison.trainer(NETS, "hybrid", kind, cell(0) | {"member": member})
        return trainer.step(trainer.init(key), data, jnp.int32(0))[0].state.params["encoder"]["UniformDense_2"][
            "kernel"
        ]

    blind, taught = comparison.FAMILIES["hybrid"].index("black_box"), 1
    np.testing.assert_array_equal(after(jnp.float32(blind), data), after(jnp.float32(blind), other))
    assert not np.array_equal(after(jnp.float32(taught), data), after(jnp.float32(taught), other))


@pytest.mark.slow
def test_hard_concepts_that_are_right_leak_nothing_and_align_fully(stack):
    rng = np.random.default_rng(0)
    examples = jax.tree.map(lambda leaf: leaf[0], stack.examples)
    test, fresh = (np.asarray(part.concepts) for part in (examples.test, examples.fresh))
    right = {"told": test[None], "rest": np.zeros((1, 600, 0)), "logits": fresh[None]}
    units = rng.normal(size=(1, 600, 3))
    noise = {"told": rng.random((1, 600, 2)), "rest": units, "logits": rng.normal(size=(1, 2000, 2))}
    noise = {name: each.astype(np.float32) for name, each in noise.items()}
    found = comparison.scored({"right": right, "noise": noise}, examples, steps=5)
    assert {name: each.item() for name, each in found["right"].items()} == {
        "cas": 1, "cas_alone": 1, "leakage": 0, "impurity": 0
    }  # fmt: skip
    assert found["noise"]["cas_alone"] < 0.6 < found["noise"]["impurity"]
    assert abs(found["noise"]["leakage"]) < 0.01
    assert found["noise"]["cas"] != found["noise"]["cas_alone"]

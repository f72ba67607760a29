from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import embedding, losses, views
from interp_jax.concepts.model import apply
from interp_jax.concepts.views import Sizes
from interp_jax.data.concept_sets import ConceptSet
from interp_jax.models.batched import between, freeze

SIZES = Sizes(shape=(5,), concepts=2, classes=3, hidden=8, head=6, size=4, axes=6)
CASES = [(family, member) for family, kinds in views.FAMILIES.items() for member in range(len(kinds))]


def examples(n=12):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    concepts = np.stack([labels == 0, labels == 2], 1).astype(np.float32)
    return ConceptSet(jnp.asarray(rng.normal(size=(n, 5)), jnp.float32), jnp.asarray(concepts), jnp.asarray(labels))


SLOW = {"whitened": [pytest.mark.slow]}  # to compile


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id=kind, marks=SLOW.get(kind, [])) for case, kind in zip(CASES, views.KINDS, strict=True)
    ],
)
def trained(request):
    """A network after 30 steps on one batch, and what it was before."""
    family, member = request.param
    one, data = views.on_batches(SIZES, family, jnp.float32(member), batch=12, lr=1e-2, every=5), examples()
    begun = one.init(jax.random.key(0))
    steps = jax.jit(lambda state: jax.lax.scan(lambda s, t: one.step(s, (data, data), t), state, jnp.arange(30))[0])
    return family, member, begun, steps(begun), data


def seen_by(family, member, state, xs):
    return jax.vmap(partial(views.look, SIZES, family, member, state))(xs)


def test_all_kinds_are_seen_in_one_shape_and_learn(trained):
    family, member, begun, state, data = trained
    before, after = (seen_by(family, member, each, data.inputs) for each in (begun, state))
    assert [leaf.shape for leaf in after] == [(12, 2), (12, 3), (12, SIZES.told)]
    cost = jax.vmap(partial(views.cost, family))
    loss = [cost(each, data.labels, data.concepts).mean() for each in (before, after)]
    assert loss[1] < loss[0]


def test_what_is_seen_is_what_the_model_says(trained):
    family, member, _, state, data = trained
    seen = seen_by(family, member, state, data.inputs)
    if family == "whitened":
        net = freeze(between(*views.whitener(SIZES)).apply_batch, state.stats)
        task = jax.vmap(net, (None, 0))(state.params, data.inputs)
        np.testing.assert_allclose(seen.task, task, atol=1e-4)
        np.testing.assert_array_equal(seen.scores, seen.told[:, :2])
        return
    model = views.model(SIZES, family, member)
    output = jax.vmap(partial(apply, model, state.params))(data.inputs)
    np.testing.assert_allclose(seen.task, output.task, atol=1e-5)
    np.testing.assert_allclose(jax.nn.sigmoid(seen.scores), output.concepts, atol=1e-6)
    kind = views.FAMILIES[family][member]
    told = {"hard": seen.scores > 0, "sigmoid": output.concepts, "hybrid": output.concepts}
    if kind in told:
        np.testing.assert_allclose(seen.told[:, :2], told[kind], atol=1e-6)
        assert bool((seen.told[:, 2:] != 0).any()) is (kind == "hybrid")
    else:
        encoded = jax.vmap(partial(model.encode, state.params))(data.inputs)
        mixed = jax.vmap(embedding.mixture)(output.values, encoded.rest)
        np.testing.assert_allclose(seen.told, mixed.reshape(12, -1), atol=1e-6)


def test_the_cost_is_of_the_task_and_unless_whitened_of_the_concepts():
    seen = views.View(jnp.array([2.0, -1.0]), jnp.array([0.5, 1.0, -1.0]), jnp.zeros(8))
    label, concepts = jnp.array(1), jnp.array([1.0, 1.0])
    task = np.log(np.exp([0.5, 1.0, -1.0]).sum()) - 1.0
    concept = np.mean(np.log1p(np.exp([-2.0, 1.0])))
    np.testing.assert_allclose(views.cost("whitened", seen, label, concepts), task, rtol=1e-5)
    np.testing.assert_allclose(views.cost("embedding", seen, label, concepts), task + concept, rtol=1e-5)
    assert losses.mean(losses.concept_loss()(seen.scores, concepts)) > 0


def test_thresholds_are_half_way():
    rng = np.random.default_rng(1)
    scores, concepts = rng.normal(size=(30, 2)), rng.integers(0, 2, (30, 2))
    best = [(scores[concepts[:, j] == 1, j].mean() + scores[concepts[:, j] == 0, j].mean()) / 2 for j in range(2)]
    np.testing.assert_allclose(views.halfway(jnp.float32(scores), jnp.float32(concepts)), best, rtol=1e-4, atol=1e-6)

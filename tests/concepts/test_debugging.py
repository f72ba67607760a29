"""A net made by hand that decides by one attribute is found out; scores are those of loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import debugging
from interp_jax.core import keys
from interp_jax.data import planted
from interp_jax.models.nets import Net
from interp_jax.train.trainer import TrainState

SIDE = 12


def pooled(x):
    """Means of 2 x 2 pixels, `[108]`."""
    return x.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean((1, 3)).reshape(-1)


SETUP = debugging.Setup(
    Net(lambda key: (), lambda params, x: pooled(x)),
    Net(lambda key: (), lambda params, z: params["weight"] @ z + params["bias"]),
    classes=2, rate=0.1, examples=30, alpha=1.0, draws=1, errors=8, steps=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def measured():
    """Images of grey noise of two classes; class `label` is told by its attribute alone."""
    rng = np.random.default_rng(0)
    images = np.float32(0.2 * rng.uniform(size=(40, SIDE, SIDE, 1)))
    labels = np.arange(40, dtype=np.int32) % 2
    part = jnp.asarray(images), jnp.asarray(labels)
    data = debugging.Data(part, part, jnp.asarray(planted.pictures(SIDE)))
    key = jax.random.key(3)
    what = debugging.plant(SETUP, keys.stream(key, "batch"), SETUP.rate)
    seen = pooled(data.pictures[what.attribute])
    toward = jax.nn.one_hot(what.label, 2)[:, None] * (20 * seen / seen.sum())[None]
    bias = -9.0 * jax.nn.one_hot(what.label, 2)
    state = TrainState({"trunk": (), "head": {"weight": toward, "bias": bias}}, (), key)
    found = jax.jit(lambda state, data: debugging.measure(SETUP, state, data))(state, data)
    return what, jax.tree.map(np.asarray, found)


def test_the_attribute_that_a_net_decides_by_is_named(measured):
    what, found = measured
    assert found["attribute"] == what.attribute
    assert found["accuracy_own"] < 0.2
    assert found["accuracy_with"] == 1
    assert found["taken_share"] == 1
    own = found["own"]["ranks"][:, what.attribute]
    assert (own == 1).mean() > 0.9
    assert (found["taken"]["less"][:, what.attribute] <= 3).mean() > 0.9
    assert (found["own"]["slope"][:, what.attribute] == 1).all()
    assert found["own"]["valid"].mean() > 0.9
    assert found["learnt"][what.attribute] > 0.7
    assert (found["shuffled"]["ranks"][:, what.attribute] <= 3).mean() < 0.5
    np.testing.assert_allclose(found["own"]["ranks"].sum(1), 60 * 61 / 2)


def test_scores_are_those_of_loops():
    rng = np.random.default_rng(0)
    ranks = lambda: np.argsort(rng.uniform(size=(4, 5, 60)), 2) + 1.0  # noqa: E731
    kinds = {
        kind: {name: ranks() for name in ("ranks", "less", "slope", "alone", "learnt")}
        | {name: rng.uniform(size=(4, 5)) for name in ("valid", "named")}
        for kind in ("own", "all", "taken", "shuffled")
    }
    for each in kinds["own"].values():
        each[1, 3:] = np.nan
        each[2] = np.nan
    at = rng.integers(0, 60, 4)
    found = debugging.scores({"attribute": at, **kinds})
    assert np.isnan(found["top_own"][2])
    assert found["count_own"].tolist() == [5, 3, 0, 5]
    for r in (0, 1, 3):
        rows = range(3 if r == 1 else 5)
        mine = [kinds["own"]["ranks"][r, m, at[r]] for m in rows]
        assert found["top_own"][r] == pytest.approx(np.mean([rank <= 3 for rank in mine]))
        assert found["rank"][r] == pytest.approx(np.mean(mine))
        assert found["ahead"][r] == pytest.approx(np.mean([(60 - rank) / 59 for rank in mine]))
        tops = [np.mean([kinds["own"]["ranks"][r, m, j] <= 3 for m in rows]) for j in range(60) if j != at[r]]
        assert found["decoy"][r] == pytest.approx(max(tops))
        assert found["top_taken"][r] == pytest.approx((kinds["taken"]["less"][r, :, at[r]] <= 3).mean())
        assert found["valid"][r] == pytest.approx(kinds["own"]["valid"][r, list(rows)].mean())

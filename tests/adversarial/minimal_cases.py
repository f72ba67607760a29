"""What the tests of minimal-norm attacks share: a linear model and an MLP in one program, and what every outcome owes.

Of the eight examples the first six are classified as labelled; the seventh has no such label, the eighth is wrong
already. In the targeted attack the first six aim at the next class, the seventh at none, the eighth at its own.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.adversarial import norms, objectives
from tests.adversarial import nets
from tests.oracles import minimal as oracle

N, SOUND = 8, slice(0, 6)
NORMS = {"l0": norms.l0, "l1": norms.l1, "l2": norms.l2, "linf": norms.linf}
XS = nets.examples(N)
KEYS = jax.random.split(jax.random.key(5), N)
MLP = nets.weights()
WIDE, TIGHT = (-3.0, 4.0), (0.1, 0.9)
# of the six sound examples under the MLP and TIGHT, from the oracle's integer programs (l2: the best of many searches)
EXACT = {
    "l1": np.array([1.22575706, 1.48867156, 1.24042874, 2.80258516, 1.1156631, 1.24595319]),
    "l2": np.array([0.39064846, 0.55725124, 0.43996796, 0.95185066, 0.35697805, 0.4011847]),
    "linf": np.array([0.08482015, 0.12471139, 0.09585859, 0.19914012, 0.07946688, 0.08911648]),
}


def straight():
    """The MLP with every unit switched on inside WIDE: a linear model."""
    (w1, b1), (w2, b2) = MLP
    raised = 12.0
    return [(w1, b1 + raised), (w2, b2 - raised * w2.sum(0))]


MODELS = {"mlp": MLP, "straight": straight(), "dead": [(0 * w, b) for w, b in MLP]}


@functools.cache
def wanted(name, targeted=False):
    """Labels to be left, or targets to be reached."""
    own = np.array([np.argmax(oracle.logits(MODELS[name], x)) for x in XS])
    classes = (own + 1) % nets.CLASSES if targeted else own
    classes[6], classes[7] = 9, own[7] if targeted else (own[7] + 1) % nets.CLASSES
    return classes


def program(attack):
    """Compile `attack(predict, objective, x, label, key, bounds)` once, for all models, examples, bounds and aims."""

    traces = []

    @jax.jit
    def run(params, xs, labels, ks, bounds, targeted):
        traces.append(1)

        def one(x, label, key):
            def predict(x):
                return nets.mlp(params, x)

            def objective(x):
                both = objectives.target_margin(predict, label)(x), objectives.margin(predict, label)(x)
                return jax.tree.map(lambda a, b: jnp.where(targeted, a, b), *both)

            return attack(predict, objective, x, label, key, bounds)

        return jax.vmap(one)(xs, labels, ks)

    def call(name, bounds, targeted=False):
        found = run(MODELS[name], XS, jnp.asarray(wanted(name, targeted)), KEYS, bounds, targeted)
        assert len(traces) == 1
        return found

    return call


@functools.cache
def smallest(norm, bounds, targeted=False):
    """Sizes of the six sound examples under the linear model, exact."""
    (w1, b1), (w2, b2) = MODELS["straight"]
    solve = oracle.leading if targeted else oracle.linear
    pairs = zip(XS[SOUND], wanted("straight", targeted)[SOUND], strict=True)
    return np.array([solve(w1 @ w2, b1 @ w2 + b2, x, label, norm, *bounds) for x, label in pairs])


def check_sound(found, name, bounds, size, targeted=False):
    """Check that outcomes are in the bounds, as large as they say, fooled where they say, and that no curve rises."""
    labels, x, clean = wanted(name, targeted), np.float64(found.x), np.float64(XS)
    assert x.min() >= np.float32(bounds[0])
    assert x.max() <= np.float32(bounds[1])
    np.testing.assert_array_equal(np.isfinite(found.size), found.fooled)
    for i in np.flatnonzero(found.fooled):
        values = oracle.logits(MODELS[name], x[i])
        ahead = (np.max(np.delete(values, labels[i])) - values[labels[i]]) * (-1 if targeted else 1)
        assert ahead > -2e-5, (i, ahead)  # logits in float32 carry that much
        np.testing.assert_allclose(found.size[i], size(x[i] - clean[i]), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(x[~found.fooled], clean[~found.fooled])
    assert np.isnan(found.size[6])
    assert found.size[7] == 0
    np.testing.assert_array_equal(x[7], clean[7])
    curve = np.delete(np.asarray(found.curve), 6, 0)
    assert (curve[:, 1:] <= curve[:, :-1]).all()
    np.testing.assert_array_equal(found.curve[:, -1], found.size)
    assert np.isfinite(found.last).all()


def check_degenerate(call):
    """Check that a model with no gradient gives no NaN and no success, and bounds that leave x out give NaN."""
    found = call("dead", TIGHT)
    kept = np.arange(6)
    assert not found.fooled[kept].any()
    assert np.isinf(found.size[kept]).all()
    np.testing.assert_array_equal(found.flat[kept], 1.0)
    for leaf in (found.x, found.last, found.flat):
        assert np.isfinite(leaf).all()
    found = call("mlp", (0.5, 1.0))
    assert np.isnan(found.size).all()
    assert not found.fooled.any()

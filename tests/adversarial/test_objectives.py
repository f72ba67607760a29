import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_jax.adversarial import objectives
from tests.oracles import attacks as oracle

CLASSES = 5
MAKERS = {
    "ce": lambda y, t: objectives.cross_entropy(same, y),
    "target_ce": lambda y, t: objectives.target_cross_entropy(same, t),
    "margin": lambda y, t: objectives.margin(same, y),
    "target_margin": lambda y, t: objectives.target_margin(same, t),
    "dlr": lambda y, t: objectives.dlr(same, y),
    "target_dlr": lambda y, t: objectives.target_dlr(same, y, t),
    "difference": lambda y, t: objectives.difference(same, y, t),
}


def same(logits):
    return logits


@jax.jit
def every(logits, label, target):
    """Values, flags and gradients of all objectives at logits `[CLASSES]`."""

    def one(make):
        def pair(z):
            seen = make(label, target)(z)
            return seen.value, seen.fooled

        (value, fooled), gradient = jax.value_and_grad(pair, has_aux=True)(logits)
        return value, fooled, gradient

    return {name: one(make) for name, make in MAKERS.items()}


shares = st.integers(-1000, 1000).map(lambda thousandths: thousandths / 1000)
rows = st.tuples(
    st.lists(st.one_of(shares, st.sampled_from([0.0, 1.0, -1.0])), min_size=CLASSES, max_size=CLASSES),
    st.sampled_from([0.0, 1.0, 1e3]),  # added to all: the size of the logits may exceed that of their differences
    st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
).map(lambda drawn: np.float32(np.float32(drawn[2]) * (np.float32(drawn[0]) + np.float32(drawn[1]))))


@pytest.mark.parametrize("examples", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_values_and_flags_are_the_papers(examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(rows, st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1))
    def check(z, label, target):
        first, _, third, fourth = np.sort(np.float64(z))[::-1][:4]
        for name, (value, fooled, gradient) in every(z, label, target).items():
            assert np.isfinite(gradient).all()
            undefined = (name == "dlr" and first == third) or (name == "target_dlr" and first == fourth)
            if undefined:  # documented, where the reference divides by 1e-12
                assert value == 0
                continue
            wanted, wanted_flag, _ = oracle.objective(name, z, label, target)
            np.testing.assert_allclose(value, wanted, rtol=2e-6, atol=2e-7)
            assert fooled == wanted_flag
            if name in ("margin", "dlr", "target_margin"):
                assert value >= 0 if fooled else value <= 0

    check()


def test_gradients_are_the_papers():
    rng = np.random.default_rng(0)
    for scale in (1e-2, 1.0, 10.0):
        for _ in range(10):
            z, (label, target) = np.float32(scale * rng.normal(size=CLASSES)), rng.choice(CLASSES, 2, replace=False)
            for name, (_, _, gradient) in every(z, label, target).items():
                wanted = oracle.objective(name, z, label, target)[2]
                np.testing.assert_allclose(gradient, wanted, rtol=2e-5, atol=1e-6 + 1e-6 / scale)


@pytest.mark.parametrize("wrong", [-1, CLASSES, 1000])
def test_labels_and_targets_out_of_range_give_nan_and_fool_nobody(wrong):
    of_label, of_target = (
        {"ce", "margin", "dlr", "target_dlr", "difference"},
        {"target_ce", "target_margin", "target_dlr", "difference"},
    )
    for label, target, undefined in ((wrong, 1, of_label), (1, wrong, of_target)):
        for name, (value, fooled, _) in every(jnp.arange(5.0), label, target).items():
            assert jnp.isnan(value) == (name in undefined)
            assert not (fooled and name in undefined)


def test_logits_that_are_not_numbers_fool_nobody():
    for value, fooled, _ in every(jnp.array([jnp.nan, 0.0, 1.0, 2.0, 3.0]), 2, 1).values():
        assert jnp.isnan(value)
        assert not fooled


def test_equal_logits_predict_the_first_class_and_give_no_nan():
    for label in range(CLASSES):
        found = every(jnp.ones(CLASSES), label, label)
        for name, (value, fooled, gradient) in found.items():
            assert fooled == ((label == 0) if name in ("target_ce", "target_margin") else (label != 0))
            assert jnp.isfinite(gradient).all()
            np.testing.assert_allclose(value, {"ce": np.log(5), "target_ce": -np.log(5)}.get(name, 0), rtol=1e-6)


def test_large_logits_are_finite_and_keep_their_differences():
    found = every(jnp.array([1e4, 1e4 - 1, -1e4, 0.0, 1.0]), 0, 1)
    np.testing.assert_allclose(found["ce"][0], np.log1p(np.exp(-1)), rtol=1e-6)
    np.testing.assert_allclose(found["target_ce"][0], -np.log1p(np.exp(1)), rtol=1e-6)
    np.testing.assert_allclose(found["margin"][0], -1)
    np.testing.assert_allclose(found["dlr"][0], -1 / 9999, rtol=1e-6)
    for value, _, gradient in found.values():
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()
    assert every(jnp.array([1e4, -1e4, 0.0, 0.0, 0.0]), 1, 0)["ce"][0] == 2e4


@pytest.mark.parametrize("name", ["ce", "target_ce"])
def test_cross_entropies_keep_value_and_gradient_however_far_the_class_leads_or_lags(name):
    """Against float64, with the class's own derivative as a sum of the others' shares, which keeps its digits."""
    rest, sign = np.array([0.0, -1.0, 0.5, -3.0]), 1 if name == "ce" else -1
    for lead in range(-80, 81, 4):
        logits = np.insert(rest, 2, rest.max() + lead)
        (value, _, gradient) = every(np.float32(logits), 2, 2)[name]
        ahead = np.log(np.exp(rest).sum()) - logits[2]
        share = np.exp(rest - np.logaddexp(np.log(np.exp(rest).sum()), logits[2]))
        np.testing.assert_allclose(
            sign * value, np.logaddexp(ahead, 0) if lead < 0 else np.log1p(np.exp(ahead)), rtol=2e-5
        )
        np.testing.assert_allclose(sign * gradient, np.insert(share, 2, -share.sum()), rtol=2e-5)


def test_dlr_does_not_change_when_logits_are_scaled_or_shifted():
    rng = np.random.default_rng(1)
    for _ in range(10):
        z, (label, target) = rng.normal(size=CLASSES), rng.choice(CLASSES, 2, replace=False)
        plain = every(np.float32(z), label, target)
        for scale, shift in ((100.0, 0.0), (1e-3, 0.0), (1.0, 7.0), (3.0, -20.0)):
            changed = every(np.float32(scale * z + shift), label, target)
            for name in ("dlr", "target_dlr"):
                np.testing.assert_allclose(changed[name][0], plain[name][0], rtol=1e-4, atol=1e-4)
                assert changed[name][1] == plain[name][1]


def test_a_target_s_objectives_mirror_a_label_s():
    found = every(jnp.array([0.3, -1.0, 2.0, 0.1, 0.0]), 3, 3)
    np.testing.assert_allclose(found["target_ce"][0], -found["ce"][0])
    np.testing.assert_allclose(found["target_margin"][0], -found["margin"][0])


@pytest.mark.parametrize(
    ("make", "classes", "message"),
    [
        (lambda: objectives.cross_entropy(same, 0), 1, "want at least 2 classes for a cross entropy, got .*\\(1,\\)"),
        (lambda: objectives.target_cross_entropy(same, 0), 1, "want at least 2 classes"),
        (lambda: objectives.margin(same, 0), 1, "want at least 2 classes for a margin"),
        (lambda: objectives.target_margin(same, 0), 1, "want at least 2 classes"),
        (lambda: objectives.dlr(same, 0), 2, "want at least 3 classes .* use margin"),
        (lambda: objectives.target_dlr(same, 0, 1), 3, "want at least 4 classes .* use difference"),
        (lambda: objectives.difference(same, 0, 1), 1, "want at least 2 classes"),
    ],
)
def test_too_few_classes_are_refused(make, classes, message):
    with pytest.raises(ValueError, match=message):
        make()(jnp.zeros(classes))
    assert jnp.isfinite(make()(jnp.zeros(classes + 1)).value)


def test_logits_of_a_batch_are_refused():
    with pytest.raises(AssertionError, match="rank"):
        objectives.cross_entropy(same, 0)(jnp.zeros((2, 5)))


def test_any_scalar_function_is_an_objective_fooled_where_positive():
    plain = objectives.scored(lambda x: x.sum())
    assert plain(jnp.ones(2)) == (2.0, True)
    assert not plain(jnp.zeros(2)).fooled
    own = objectives.Scored(jnp.float32(-1), jnp.bool_(True))
    assert objectives.scored(lambda x: own)(jnp.zeros(2)) is own

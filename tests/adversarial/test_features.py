from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from interp_jax.adversarial import features, norms
from tests.adversarial import nets

PARAMS = nets.weights()
PREDICT = partial(nets.mlp, PARAMS)
SHAPE = (6, 6, 1)


def orthogonal(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def pair(size=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.2, 0.8, size=size), rng.uniform(0.2, 0.8, size=size)


def test_inverting_an_invertible_representation_gives_the_image_itself():
    matrix = jnp.asarray(orthogonal(8), jnp.float32)
    x, start = [jnp.asarray(a, jnp.float32) for a in pair()]
    invert = jax.jit(partial(features.imitate, lambda x: matrix @ x, steps=120, step_size=0.01))
    found, distance = invert(x, start)
    assert distance < 0.006  # half a step
    np.testing.assert_allclose(found.x, x, atol=0.006)
    np.testing.assert_allclose(found.error, distance / jnp.linalg.norm(x), rtol=1e-3)
    np.testing.assert_allclose(found.moved, jnp.linalg.norm(x - start), rtol=0.02)
    assert found.curve.shape == (121,)
    np.testing.assert_allclose(found.error, found.curve.min(), rtol=1e-5)


def test_inverting_a_narrow_representation_matches_it_and_keeps_the_rest_of_the_start():
    """For orthonormal rows the nearest point with the target's representation is `start + A'(A x - A start)`."""
    rows = orthogonal(8)[:3]
    x, start = pair()
    nearest = start + rows.T @ (rows @ x - rows @ start)
    assert (nearest > 0).all()
    assert (nearest < 1).all()
    narrow, origin, source = [jnp.asarray(a, jnp.float32) for a in (rows, start, x)]
    invert = jax.jit(partial(features.imitate, lambda x: narrow @ x, steps=120, step_size=0.01))
    found, distance = invert(source, origin)
    assert found.error < 0.01
    np.testing.assert_allclose(found.x, nearest, atol=0.006)
    np.testing.assert_allclose(distance, np.linalg.norm(nearest - x), rtol=0.02)
    assert distance > 0.3
    np.testing.assert_allclose(
        found.last_error, np.linalg.norm(rows @ (np.float64(found.last) - x)) / np.linalg.norm(rows @ x), rtol=1e-3
    )


def test_inversions_stay_in_the_bounds_keep_the_best_and_do_not_compile_again():
    xs, starts = nets.examples(4), nets.examples(4, seed=9)
    (w1, b1), _ = [(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)) for w, b in PARAMS]

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(size):
        represent = lambda x: jax.nn.relu(x.reshape(-1) @ w1 + b1)  # noqa: E731
        one = partial(features.imitate, represent, steps=40, step_size=size)
        return jax.vmap(one)(xs, starts)

    for size in (0.05, 2.0):
        found, distance = run(size)
        assert found.x.min() >= 0
        assert found.x.max() <= 1
        assert (found.error <= found.curve[:, 0]).all()
        np.testing.assert_allclose(found.error, found.curve.min(1), rtol=1e-5)
        assert (found.error <= found.last_error + 1e-7).all()
        np.testing.assert_allclose(distance, np.linalg.norm((found.x - xs).reshape(4, -1), axis=1), rtol=1e-5)


def test_inversions_without_gradient_or_target_say_so():
    start = jnp.full(3, 0.5)
    invert = jax.jit(lambda slope, shift, target: features.invert(lambda x: slope * x + shift, start, target, steps=3))
    found = invert(0.0, 1.0, jnp.zeros(3))
    assert jnp.isnan(found.error)
    assert found.flat == 1
    np.testing.assert_array_equal(found.x, start)
    found = invert(1.0, 0.0, start)
    assert found.error == 0
    chex.assert_tree_all_finite(found)


def test_starts_are_other_images_and_uniform_over_them(key):
    drawn = jax.jit(jax.vmap(lambda k: jax.vmap(lambda i: features.other(k, i, 5))(jnp.arange(5))))
    found = np.asarray(drawn(jax.random.split(key, 2000)))
    assert (found != np.arange(5)[None]).all()
    for i in range(5):
        counts = np.delete(np.bincount(found[:, i], minlength=5), i)
        assert stats.chisquare(counts).pvalue > 1e-3


def test_random_targets_are_uniform_and_independent_of_the_label(key):
    ks = jax.random.split(key, 20_000)
    targets = np.asarray(jax.jit(jax.vmap(lambda k: features.relabel_random(k, 10)))(ks))
    assert stats.chisquare(np.bincount(targets, minlength=10)).pvalue > 1e-3
    labels = np.arange(20_000) % 10
    table = np.zeros((10, 10))
    np.add.at(table, (labels, targets), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3
    others = np.asarray(jax.jit(jax.vmap(lambda k, y: features.relabel_other(k, y, 10)))(ks, labels))
    assert (others != labels).all()
    assert stats.chisquare(np.bincount((others - labels) % 10, minlength=10)[1:]).pvalue > 1e-3


def test_next_targets_wrap_and_refuse_labels_out_of_range(key):
    found = jax.vmap(lambda y: features.relabel_next(y, 10))(jnp.arange(-1, 11))
    np.testing.assert_array_equal(found, [-1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, -1])
    assert features.relabel_other(key, 12, 10) == -1


CONSTRUCT = jax.jit(
    jax.vmap(lambda x, t, k, eps: features.construct(PREDICT, x, t, k, eps=eps, step_size=0.3, steps=20))
)


def made(n=8):
    xs = nets.examples(n)
    labels = jnp.argmax(jax.vmap(PREDICT)(xs), -1)
    targets = (labels + 1) % nets.CLASSES
    return xs, targets, CONSTRUCT(xs, targets, jax.random.split(jax.random.key(0), n), jnp.full(n, 2.0, jnp.float32))


def test_constructed_examples_reach_their_targets_and_their_noise_is_as_large():
    xs, targets, found = made()
    flat = lambda a: np.float64(a).reshape(len(a), -1)  # noqa: E731
    sizes = np.linalg.norm(flat(found.x) - flat(xs), axis=1)
    assert (sizes <= 2 + 1e-5).all()
    np.testing.assert_allclose(found.size, sizes, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(flat(found.noise) - flat(xs), axis=1), sizes, rtol=2e-6)
    np.testing.assert_allclose(found.noise_size, found.size, rtol=2e-6)
    for images in (found.x, found.noise):
        assert images.min() >= 0
        assert images.max() <= 1
    said = jnp.argmax(jax.vmap(PREDICT)(found.x), -1)
    np.testing.assert_array_equal(found.hit, said == targets)
    np.testing.assert_array_equal(found.noise_hit, jnp.argmax(jax.vmap(PREDICT)(found.noise), -1) == targets)
    assert found.hit.mean() > 0.8
    assert found.noise_hit.mean() < 0.3
    np.testing.assert_array_equal(found.target, targets)


def test_sizes_do_not_tell_which_labels_are_true():
    """Where the net is so sure of the target that log p as `log_softmax` gives it rounds to 0 at once."""

    def sure(x):
        return jnp.stack([20 + x.sum(), -x.sum()])

    x = jnp.full(4, 0.5)
    one = partial(features.construct, sure, x, key=jax.random.key(0), eps=0.3, step_size=0.1, steps=5)
    found = jax.jit(jax.vmap(one))(jnp.array([0, 1]))
    assert jax.nn.log_softmax(sure(x))[0] == 0
    np.testing.assert_array_equal(found.hit, [True, False])
    np.testing.assert_allclose(found.size, 0.3, rtol=1e-5)


def test_noise_points_everywhere_and_has_its_size_in_the_corner_of_the_box(key):
    ks = jax.random.split(key, 2000)
    free = jax.jit(jax.vmap(lambda k: features.noise_of_size(jnp.zeros(4), k, size=0.7, bounds=None)))(ks)
    np.testing.assert_allclose(np.linalg.norm(free, axis=1), 0.7, rtol=1e-5)
    error = 0.7 / np.sqrt(4 * 2000)
    assert (np.abs(free.mean(0)) < 4 * error).all()
    np.testing.assert_allclose(free.T @ free / 2000, 0.49 / 4 * np.eye(4), atol=0.49 * 4 / np.sqrt(2000) / 4)
    corner = jnp.concatenate([jnp.zeros(30), jnp.ones(6)])
    for norm in (norms.l2, norms.linf):

        @jax.jit
        @jax.vmap
        def draw(k, norm=norm):
            inside = features.noise_of_size(corner, k, size=0.5, norm=norm)
            return inside, norm.size(inside - corner)

        inside, sizes = draw(ks[:50])
        np.testing.assert_allclose(sizes, 0.5, rtol=2e-6)
        assert inside.min() >= 0
        assert inside.max() <= 1


def test_stamps_are_a_clipped_multiple_of_the_pattern():
    """Bisection on the multiple, in float64."""
    x, pattern = np.array([0.0, 0.9, 0.5, 0.2]), np.array([-1.0, 2.0, 0.5, -0.7])
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.linalg.norm(np.clip(x + middle * pattern, 0, 1) - x) < 0.4 else (low, middle)
    found = features.stamp(jnp.asarray(x, jnp.float32), jnp.asarray(pattern, jnp.float32), size=0.4)
    np.testing.assert_allclose(found, np.clip(x + low * pattern, 0, 1), atol=1e-6)
    all_of_it = features.stamp(jnp.asarray(x, jnp.float32), jnp.asarray(pattern, jnp.float32), size=10.0)
    np.testing.assert_allclose(all_of_it, [0, 1, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(features.stamp(jnp.full(3, 0.5), jnp.zeros(3), size=0.2), 0.5)


def test_patterns_repeat_and_differ_between_classes(key):
    found = features.patterns(key, 3, (7, 6, 2), period=2)
    assert found.shape == (3, 7, 6, 2)
    np.testing.assert_array_equal(found[:, :2, :2], found[:, 4:6, 2:4])
    assert np.abs(np.corrcoef(features.patterns(key, 3, (60,)).reshape(3, -1)) - np.eye(3)).max() < 0.5
    assert features.patterns(key, 3, (60,)).shape == (3, 60)


def test_scores_count_the_class_and_the_next():
    found = features.score(jnp.array([0, 1, 0, 2]), jnp.array([0, 0, 2, 1]), 3)
    np.testing.assert_array_equal(found.correct, [True, False, False, False])
    np.testing.assert_array_equal(found.following, [False, True, True, True])


def clusters(n, seed, classes=3, width=6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    xs = 0.2 * rng.normal(size=(n, width))
    xs[np.arange(n), labels] += 1
    return jnp.asarray(xs, jnp.float32), labels


LEAKAGE = jax.jit(partial(features.leakage, classes=3))


def test_leakage_finds_what_passed_through_the_features_and_nothing_else():
    """Columns 0 to 2 carry the class; targets agree with it, follow it, or are drawn at random."""
    xs, labels = clusters(600, 0)
    test_xs, test_labels = clusters(400, 1)
    robust, empty = jnp.eye(6)[:, :3], jnp.eye(6)[:, 3:]
    agree = LEAKAGE(robust, xs, labels, test_xs, test_labels)
    assert agree.scores.correct.mean() > 0.95
    assert agree.fit.converged
    follow = LEAKAGE(robust, xs, (labels + 1) % 3, test_xs, test_labels)
    assert follow.scores.following.mean() > 0.95
    assert follow.scores.correct.mean() < 0.05
    np.testing.assert_allclose(follow.trained, 1, atol=0.05)
    chance = LEAKAGE(empty, xs, labels, test_xs, test_labels)
    assert abs(chance.scores.correct.mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / 400)


def test_leakage_does_not_depend_on_the_scale_of_the_features():
    xs, labels = clusters(600, 0)
    scaled = jnp.diag(jnp.array([1e-2, 1.0, 1e3, 1.0, 1.0, 1.0]))[:, :3]
    plain, other = (LEAKAGE(w, xs, labels, *clusters(400, 1)) for w in (jnp.eye(6)[:, :3], scaled))
    assert (plain.scores.correct == other.scores.correct).mean() > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, k: features.invert(lambda x: x, x, x, steps=0), "want an integer steps >= 1"),
        (lambda x, k: features.invert(lambda x: x, x + 1, x), "want 0.0 <= x <= 1.0"),
        (lambda x, k: features.construct(lambda x: x, x, 0, k, eps=-1.0, step_size=0.1, steps=2), "want eps >= 0"),
        (lambda x, k: features.stamp(x, x, size=-1.0), "want eps >= 0, got eps=-1.0"),
        (lambda x, k: features.relabel_random(k, 1), "want an integer classes >= 2"),
        (lambda x, k: features.other(k, 0, 1), "want an integer count >= 2"),
    ],
)
def test_bad_values_are_named(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(jnp.full(3, 0.5), key)


def test_bad_values_that_tracing_hides_leave_the_image_and_hit_nothing(key):
    xs, targets = nets.examples(8), jnp.array([-1, nets.CLASSES, 1, 1, 1, 1, 1, 1])
    xs = xs.at[4].add(1.0)
    epsilons = jnp.array([0.5, 0.5, -1.0, jnp.nan, 0.5, 0.5, 0.5, 0.5])
    found = CONSTRUCT(xs, targets, jax.random.split(key, 8), epsilons)
    np.testing.assert_array_equal(found.x[:5], xs[:5])
    np.testing.assert_array_equal(found.noise[2:5], xs[2:5])
    chex.assert_tree_all_finite((found.x, found.noise))
    assert not found.hit[:5].any()
    assert not found.noise_hit[:5].any()
    np.testing.assert_array_equal(jnp.isnan(found.size), jnp.isnan(found.noise_size))
    np.testing.assert_array_equal(jnp.isnan(found.size), np.arange(8) < 5)

"""Measures of kernels against numpy, closed forms and invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import similarity
from interp_jax.ntk import comparison, eigenfeatures, predictions


@pytest.fixture(autouse=True, scope="module")
def _double():
    with jax.enable_x64(True):
        yield


def kernel(seed, count=9, width=4):
    h = np.random.default_rng(seed).standard_normal((count, width)) + 1
    return h @ h.T


def test_alignment_is_the_cosine_of_the_matrices_and_does_not_change_with_scale():
    a, b = kernel(0), kernel(1)
    want = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    np.testing.assert_allclose(comparison.alignment(a, b), want, rtol=1e-12)
    np.testing.assert_allclose(comparison.alignment(1e200 * a, 1e-200 * b), want, rtol=1e-12)
    np.testing.assert_allclose(comparison.distance(a, b), 1 - want, rtol=1e-10)
    whole = np.random.default_rng(2).standard_normal((2, 9, 9, 3, 3))
    flat = whole.transpose(0, 1, 3, 2, 4).reshape(2, 27, 27)
    np.testing.assert_allclose(comparison.alignment(*whole), comparison.alignment(*flat), rtol=1e-12)


def test_centred_alignment_of_linear_kernels_is_linear_cka():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 4)) + 3, rng.standard_normal((12, 5))
    found = comparison.alignment(x @ x.T, y @ y.T, centred=True)
    np.testing.assert_allclose(found, similarity.linear_cka(jnp.asarray(x), jnp.asarray(y)), rtol=1e-10)


def test_label_alignment_is_one_for_the_ideal_kernel_and_near_zero_for_others():
    labels = np.array([0, 0, 1, 1, 2, 2, 2])
    ideal = (labels[:, None] == labels).astype(float)
    assert np.isclose(comparison.label_alignment(jnp.asarray(5 * ideal + 2), labels), 1)
    other = comparison.label_alignment(jnp.asarray(kernel(0, 7)), labels)
    assert 0 < other < 0.7


def test_distances_of_kernels_that_hardly_differ_keep_their_digits():
    a = kernel(0)
    nudge = kernel(1)
    with np.errstate(all="raise"):
        unit = lambda k: k / np.sqrt((k**2).sum())  # noqa: E731
        want = [(((unit(a + t * nudge).astype(np.longdouble) - unit(a)) ** 2).sum() / 2) for t in (1e-5, 1e-7)]
    found = [comparison.distance(a + t * nudge, a) for t in (1e-5, 1e-7)]
    np.testing.assert_allclose(found, np.array(want, float), rtol=1e-6)


def test_velocity_and_polar_dynamics_on_a_straight_way():
    start, end = kernel(0), kernel(1)
    shares = np.linspace(0, 1, 5)
    ways = jnp.asarray(np.stack([(1 - t) * start + t * end for t in shares]))
    radius, angle = comparison.polar(ways)
    np.testing.assert_allclose(radius, shares, atol=1e-12)
    assert angle[0] == 0
    np.testing.assert_allclose(np.cos(angle[-1]), comparison.alignment(start, end), rtol=1e-10)
    times = np.array([0.0, 1.0, 3.0, 4.0, 8.0])
    found = jax.jit(comparison.velocity)(ways, times)
    np.testing.assert_allclose(found[3], (1 - comparison.alignment(ways[4], ways[3])) / 4, rtol=1e-6)


def test_effective_rank_and_top_mass():
    np.testing.assert_allclose(comparison.effective_rank(jnp.array([2.0, 2, 2, 0, -1e-9])), 3)
    np.testing.assert_allclose(comparison.top_mass(jnp.array([1.0, 3.0, 2.0]), 1), 9 / 14)
    with pytest.raises(ValueError, match="count <= 3"):
        comparison.top_mass(jnp.ones(3), 4)


def test_restricted_to_the_top_a_kernel_keeps_its_largest_eigenvalues():
    found = comparison.restrict(jnp.asarray(kernel(0)), 2)
    values = np.linalg.eigvalsh(kernel(0))
    np.testing.assert_allclose(np.linalg.eigvalsh(found)[-2:], values[-2:], rtol=1e-10)
    np.testing.assert_allclose(np.linalg.eigvalsh(found)[:-2], 0, atol=1e-10)
    with pytest.raises(ValueError, match="count <= 9"):
        comparison.restrict(jnp.asarray(kernel(0)), 10)


def test_random_subspaces_capture_their_share():
    rng = np.random.default_rng(0)
    shares, overlaps = [], []
    for _ in range(300):
        a, b = (np.linalg.qr(rng.standard_normal((20, width)))[0] for width in (5, 8))
        shares.append(comparison.captured(a, rng.standard_normal((20, 1)))[0])
        overlaps.append(comparison.overlap(a, b))
    for found, want in ((shares, 5 / 20), (overlaps, 8 / 20)):
        assert abs(np.mean(found) - want) < 4 * np.std(found) / np.sqrt(300)
    a = np.linalg.qr(rng.standard_normal((20, 5)))[0]
    np.testing.assert_allclose(comparison.captured(a, a @ rng.standard_normal((5, 3))), 1)
    np.testing.assert_allclose(comparison.overlap(a, a[:, :2]), 1)


def test_shares_of_the_first_dimensions_are_those_of_each_subspace():
    rng = np.random.default_rng(0)
    vectors, features = np.linalg.qr(rng.standard_normal((12, 5)))[0], rng.standard_normal((12, 3))
    found = comparison.captured_by_first(vectors, features)
    for r in range(1, 6):
        fit = vectors[:, :r] @ np.linalg.lstsq(vectors[:, :r], features, rcond=None)[0]
        np.testing.assert_allclose(found[r - 1], 1 - ((features - fit) ** 2).sum(0) / (features**2).sum(0), rtol=1e-10)


def test_eigenspaces_and_components_end_where_the_rank_does():
    rows = np.random.default_rng(0).standard_normal((9, 4))
    centred = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    space = jax.jit(lambda k: comparison.eigenspace(k, 6))(comparison.centre(rows @ rows.T))
    parts = jax.jit(lambda x: comparison.components(x, 6))(rows + 7)
    np.testing.assert_allclose(space.values[:4], values[::-1][:4], rtol=1e-10)
    np.testing.assert_allclose(parts.values, values[::-1][:4] / 9, rtol=1e-10)
    for found in (space.vectors, parts.vectors):
        np.testing.assert_allclose(found[:, :4] @ found[:, :4].T, vectors[:, -4:] @ vectors[:, -4:].T, atol=1e-10)
        np.testing.assert_array_equal(found[:, 4:], 0)
    np.testing.assert_array_equal(comparison.eigenspace(jnp.zeros((3, 3)), 2).vectors, 0)


def test_the_cliff_is_the_largest_ratio_in_its_range():
    values = jnp.array([100.0, 10, 9, 8, 2, 1.9, 0.1, 0, -1e-9])
    found = jax.jit(lambda v: comparison.cliff(v, 2, 5))(values)
    assert found.place == 4
    np.testing.assert_allclose(found.depth, 4)
    assert comparison.cliff(values, 1, 5).place == 1
    assert comparison.cliff(values, 2, 8).place == 6
    np.testing.assert_allclose(comparison.cliff(3 * values, 2, 8).depth, 19)
    assert np.isnan(comparison.cliff(values, 7, 8).depth)
    for first, last in ((0, 3), (3, 9), (4, 3)):
        with pytest.raises(ValueError, match="first <= last < 9"):
            comparison.cliff(values, first, last)


def test_eigenfeatures_sum_to_the_kernel_machine():
    rng = np.random.default_rng(0)
    h, g = rng.standard_normal((8, 30)), rng.standard_normal((5, 30))
    gram, cross, y = h @ h.T, g @ h.T, rng.choice([-1.0, 1.0], 8)
    spectrum = predictions.decompose(jnp.asarray(gram))
    found = jax.jit(eigenfeatures.features)(spectrum, cross, y)
    np.testing.assert_allclose(found.sum(1), cross @ np.linalg.solve(gram, y), rtol=1e-9)
    values, vectors = np.linalg.eigh(gram)
    np.testing.assert_allclose(found[:, 1], cross @ vectors[:, -2] * (vectors[:, -2] @ y) / values[-2], rtol=1e-9)
    some = jax.jit(eigenfeatures.group)(spectrum, y, 2, 5)
    np.testing.assert_allclose(cross @ some, found[:, 2:5].sum(1), rtol=1e-9)


def test_directions_without_an_eigenvalue_carry_no_feature():
    h = np.random.default_rng(0).standard_normal((6, 3))
    spectrum = predictions.decompose(jnp.asarray(h @ h.T))
    found = eigenfeatures.loadings(spectrum, jnp.ones(6))
    np.testing.assert_allclose(found[:, 3:], 0)
    assert np.isfinite(found).all()


def test_alignments_with_codes_are_those_of_each_factor_by_itself():
    rng = np.random.default_rng(3)
    labels, number, k = rng.integers(3, size=9), rng.standard_normal((9, 1)), kernel(4)
    codes, owner = np.concatenate([np.eye(3)[labels], number], 1), np.array([[1, 0], [1, 0], [1, 0], [0, 1.0]])
    found = jax.jit(comparison.code_alignments)(k, codes, owner)
    np.testing.assert_allclose(found[0], comparison.label_alignment(jnp.asarray(k), jnp.asarray(labels)), rtol=1e-12)
    y = number[:, 0] - number.mean()
    middle = np.eye(9) - 1 / 9
    want = y @ k @ y / (np.linalg.norm(middle @ k @ middle) * (y @ y))
    np.testing.assert_allclose(found[1], want, rtol=1e-10)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import norms
from interp_jax.adversarial.minimal import Minimal, closest, in_ball, leaders, linearise, polish, smallest, within
from tests.adversarial import minimal_cases as cases
from tests.oracles import minimal as oracle


def outcome(x, size):
    size = jnp.asarray(size, jnp.float32)
    return Minimal(x, size, jnp.isfinite(size), x, size[None], jnp.zeros(()))


def test_the_smallest_of_several_is_taken_and_undefined_ones_are_not():
    several = [outcome(jnp.full(2, value), value) for value in (jnp.nan, 3.0, 2.0, jnp.inf)]
    found = smallest(jax.tree.map(lambda *leaves: jnp.stack(leaves), *several))
    assert found.size == 2
    np.testing.assert_array_equal(found.x, [2.0, 2.0])


def test_an_example_falls_where_its_size_is_within_the_radius():
    sizes = jnp.array([0.0, 0.2, 0.3, jnp.inf, jnp.nan])
    fallen = jax.vmap(lambda size: within(outcome(jnp.zeros(1), size), 0.2))(sizes)
    assert fallen.tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("norm", [norms.l1, norms.l2, norms.linf])
def test_polishing_comes_to_the_boundary_of_a_line_and_never_grows(norm):
    def bent(x):
        return jnp.tanh(3 * (x.sum() - 1.0))

    clean, far = jnp.full(2, 0.25), jnp.array([0.75, 1.0])  # the boundary is 0.4 of the way
    run = jax.jit(lambda x, size: polish(bent, clean, outcome(x, size), norm=norm, steps=16))
    found = run(far, norm.size(far - clean))
    np.testing.assert_allclose(found.size, 0.4 * norm.size(far - clean), rtol=2e-3)
    assert bent(found.x) > 0
    assert found.curve[-1] <= found.curve[-2]
    for size in (jnp.inf, jnp.nan, 0.0):
        same = run(clean, size)
        np.testing.assert_array_equal(same.size, size)
        np.testing.assert_array_equal(same.x, clean)


def test_planes_are_those_of_the_logits():
    weight = jnp.array([[1.0, -1.0, 3.0], [0.0, 2.0, 1.0]])
    planes = jax.jit(lambda *where: linearise(lambda x: x @ weight, *where))(
        jnp.array([1.0, 0.5]), 2, jnp.array([0, 1])
    )
    np.testing.assert_allclose(planes.gap, [-2.5, -3.5])
    np.testing.assert_allclose(planes.normal, [[-2.0, -1.0], [-4.0, 1.0]])
    assert not planes.flat
    gap, normal, distance = closest(planes, norms.linf)
    np.testing.assert_allclose((gap, distance), (-3.5, 0.7), rtol=1e-6)  # 2.5 / 3 is more
    np.testing.assert_allclose(normal, [-4.0, 1.0])


def test_candidates_are_the_largest_other_logits():
    assert leaders(jnp.array([3.0, 9.0, 1.0, 5.0]), 1, 2).tolist() == [3, 0]
    assert leaders(jnp.array([3.0, 9.0]), 0, 9).tolist() == [1]


def test_at_one_radius_an_outcome_is_an_attack():
    x, found = jnp.full(2, 0.5), outcome(jnp.array([0.8, 0.5]), 0.3)
    margin, radii = lambda x: x.sum() - 1.2, jnp.array([0.2, 0.3, -1.0])
    attack = jax.jit(jax.vmap(lambda eps: in_ball(margin, x, found, eps=eps, norm=norms.l2)))(radii)
    assert attack.fooled.tolist() == [False, True, False]
    np.testing.assert_allclose(attack.objective, [-0.2, 0.1, np.nan], atol=1e-6)
    np.testing.assert_allclose(attack.x, [[0.5, 0.5], [0.8, 0.5], [0.5, 0.5]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["l1", "l2", "linf"])
def test_the_sizes_held_as_exact_are_what_the_oracle_finds(name):
    labels = cases.wanted("mlp")
    for i in range(6):
        if name == "l2":
            best = oracle.relu_l2(cases.MLP, cases.XS[i], labels[i], *cases.TIGHT)
        else:
            best = oracle.relu(cases.MLP, cases.XS[i], labels[i], name, *cases.TIGHT)
        np.testing.assert_allclose(best, cases.EXACT[name][i], rtol=1e-4)

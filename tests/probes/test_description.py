import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import keys
from interp_jax.probes import controls, description
from interp_jax.probes.description import block_ends

ENDS = (3, 6, 12, 25, 50)
PROBE = controls.softmax(3, 1e-2)
code = jax.jit(lambda x, y, key: description.online(PROBE, x, y, key, ends=ENDS, classes=3))


def counted(y: np.ndarray, prior: float = 0.5) -> list[float]:
    """Give the code of labels alone, from counts in the blocks before: what a probe without features must reach."""
    bits = [ENDS[0] * np.log2(3)]
    for start, end in itertools.pairwise(ENDS):
        p = (np.bincount(y[:start], minlength=3) + prior) / (start + 3 * prior)
        bits.append(float(-np.log2(p[y[start:end]]).sum()))
    return bits


def sent(y: np.ndarray, key: jax.Array) -> np.ndarray:
    """Give labels in the order in which they are sent."""
    return y[np.asarray(jax.random.permutation(keys.stream(key, "order of transmission"), len(y)))]


def test_without_features_it_is_the_code_of_counts() -> None:
    rng = np.random.default_rng(0)
    for seed in range(3):
        y = rng.choice(3, 50, p=[0.7, 0.25, 0.05])  # the rare class is often new in its block
        key = jax.random.key(seed)
        found = code(jnp.zeros((50, 2)), jnp.asarray(y), key)
        np.testing.assert_allclose(found.blocks, counted(sent(y, key)), rtol=1e-3)
        assert float(found.total) == pytest.approx(float(found.blocks.sum()), rel=1e-6)
        assert float(found.uniform) == pytest.approx(50 * np.log2(3), rel=1e-6)


def test_plain_features_are_shorter_than_hidden_ones_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 50)
    plain = np.eye(3)[y].astype(np.float32)
    lengths = []
    for x in (4 * plain, plain + rng.normal(size=(50, 3)), rng.normal(size=(50, 3))):
        lengths.append(
            np.mean(
                [float(code(jnp.asarray(x, jnp.float32), jnp.asarray(y), jax.random.key(i)).total) for i in range(5)]
            )
        )
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[2] > 50 * np.log2(3)


@pytest.mark.parametrize("alpha", [1e-2, 1.0])
def test_a_first_block_of_one_row_leaves_every_block_finite(alpha: float) -> None:
    """As the paper's shares of 1,000 examples do: probes are fitted to rows of one class first, or to one row."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 3, 64)
    x = jnp.asarray(np.eye(3)[y] + rng.normal(size=(64, 3)), jnp.float32)
    ends = (1, 2, 4, 8, 64)
    find = jax.jit(lambda x, y, key: description.online(controls.softmax(3, alpha), x, y, key, ends=ends, classes=3))
    for seed in range(4):
        key = jax.random.key(seed)
        blocks = np.asarray(find(x, jnp.asarray(y), key).blocks)
        order = sent(y, key)
        # The probe of one row knows one class, and gives it all: (1 q + 1/2) / (1 + 3/2).
        assert blocks[1] == pytest.approx(-np.log2((float(order[0] == order[1]) + 0.5) / 2.5), rel=1e-4)
        assert np.isfinite(blocks).all()
        assert (blocks > 0).all()


def test_it_is_a_proper_code() -> None:
    rng = np.random.default_rng(2)
    x, y = jnp.asarray(rng.normal(size=(50, 2)), jnp.float32), rng.integers(0, 3, 50)
    key = jax.random.key(0)
    last = sent(np.arange(50), key)[-1]
    alone = jax.jit(lambda y: description.online(PROBE, x, y, key, ends=(25, 49, 50), classes=3).blocks[-1])
    bits = [float(alone(jnp.asarray(y).at[last].set(label))) for label in range(3)]
    assert sum(2.0**-b for b in bits) == pytest.approx(1, abs=1e-5)  # of whatever label comes last


def test_wrong_blocks_are_refused() -> None:
    x, y = jnp.zeros((50, 2)), jnp.zeros(50, jnp.int32)
    for ends in ((3, 6), (), (0, 50), (6, 3, 50)):
        with pytest.raises(ValueError, match="want ends that rise from at least 1 to 50 examples"):
            description.online(PROBE, x, y, jax.random.key(0), ends=ends, classes=3)
    with pytest.raises(ValueError, match="want shares"):
        block_ends(10, (0.5, 0.2, 1.0))
    assert block_ends(100)[0] == 1
    assert block_ends(100)[-1] == 100

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from interp_jax.probes import controls
from interp_jax.probes.controls import Task

PROBE = controls.softmax(3, 1.0)
score = jax.jit(lambda train, test: controls.score(PROBE, train, test))
N, TYPES = 300, 40


def made(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make tokens of types that have a vector each, with noise, and a label by their vector's direction."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(TYPES, 8))
    label = np.argmax(vectors[:, :3], 1)
    types = rng.integers(0, TYPES, N)
    x = vectors[types] + 0.3 * rng.normal(size=(N, 8))
    return x.astype(np.float32), label[types], types


def test_scores_are_scikit_learns() -> None:
    x, y, _ = made(0)
    found = score(Task(x[:200], y[:200]), Task(x[200:], y[200:]))
    peer = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(x[:200], y[:200])
    assert float(found.accuracy) == pytest.approx(peer.score(x[200:], y[200:]), abs=0.011)
    bits = -np.mean(np.log2(peer.predict_proba(x[200:])[np.arange(100), y[200:]]))
    assert float(found.loss) == pytest.approx(bits, abs=2e-3)


def test_a_control_task_gives_each_type_one_label_as_often_as_labels_occur() -> None:
    rng = np.random.default_rng(0)
    types = rng.integers(0, 2000, 6000)
    labels = rng.choice(3, 6000, p=[0.7, 0.2, 0.1])
    dealt = np.asarray(controls.control_task(jax.random.key(0), types, labels, count=2000))
    for number in range(50):
        assert len(np.unique(dealt[types == number])) <= 1
    shares = np.bincount(dealt[np.unique(types, return_index=True)[1]], minlength=3) / len(np.unique(types))
    np.testing.assert_allclose(shares, np.bincount(labels) / 6000, atol=0.04)
    assert (np.asarray(controls.control_task(jax.random.key(0), np.full(3, 9), labels[:3], count=5)) == -1).all()


def test_selectivity_is_high_for_what_is_shown_and_undefined_where_types_do_not_repeat() -> None:
    x, y, types = made(1)
    train = np.arange(N) < 200
    share = controls.repeated(types[train], types[~train], count=TYPES)
    assert float(share) == pytest.approx(np.isin(types[~train], types[train]).mean())
    task = score(Task(x[train], y[train]), Task(x[~train], y[~train])).accuracy
    dealt = [np.asarray(controls.control_task(jax.random.key(i), types, y, count=TYPES)) for i in range(8)]
    control = np.mean([score(Task(x[train], d[train]), Task(x[~train], d[~train])).accuracy for d in dealt])
    assert float(controls.selectivity(task, control, share)) > 0.15
    assert control > 0.4  # eight dimensions learn some of forty types by heart
    assert np.isnan(controls.selectivity(0.9, 0.3, controls.repeated(jnp.arange(3), jnp.arange(3, 6), count=6)))


def test_dealt_labels_and_noise_leave_chance() -> None:
    x, y, _ = made(2)
    train = np.arange(N) < 200
    scores = []
    for i in range(8):
        dealt = np.asarray(controls.dealt_labels(jax.random.key(i), y))
        loud = np.asarray(controls.noise(jax.random.key(i), jnp.asarray(x)))
        np.testing.assert_allclose(loud.mean(0), x.mean(0), atol=0.3)
        scores.append([float(score(Task(x[train], dealt[train]), Task(x[~train], dealt[~train])).accuracy),
                       float(score(Task(loud[train], y[train]), Task(loud[~train], y[~train])).accuracy)])  # fmt: skip
    most = np.bincount(y).max() / N
    assert (np.mean(scores, 0) < most + 0.06).all()


def test_conditional_probing_sees_what_the_baseline_does_not_tell() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    bits = rng.integers(0, 2, (n, 2))
    y = bits[:, 0] + bits[:, 1]  # 1.5 bits; either tells half a bit, the other given one tells 1
    signs = (2.0 * bits - 1).astype(np.float32)
    half = n // 2
    probe = controls.softmax(3, 1e-2)
    run = jax.jit(lambda b, x: controls.conditional(
        probe, (b[:half], b[half:]), Task(x[:half], y[:half]), Task(x[half:], y[half:])
    ))  # fmt: skip
    beyond = float(run(signs[:, :1], signs[:, 1:]))
    assert beyond == pytest.approx(1.0, abs=0.05)
    same = float(run(signs[:, :1], signs[:, :1]))
    assert abs(same) < 0.01

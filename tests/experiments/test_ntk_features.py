"""The whole experiment at a size of seconds, from its command line; its measures against NumPy; its claims."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ntk_features as experiment
from interp_jax.core import keys
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from interp_jax.train.trainer import TrainState
from tests.oracles import toys as oracle

TINY = ["quick", "--seeds", "3", "--features", "6", "--hidden", "3", "--sparsity", "0.5", "--steps", "40"]
TINY += ["--batch", "32", "--examples", "20", "--flattened", "14"]


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "ntk_features")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    call(*TINY, "--out", root)
    return root


def test_the_record_is_whole_and_a_second_run_gives_the_same(root):
    folder = root / "ntk_features" / "quick"
    first = records.read(folder)
    assert first.manifest["finished"]
    assert first.manifest["diverged"] == []
    assert [found.claim.primary for found in first.findings] == [True, False, False, False, False]
    assert {found.intervals[0].n for found in first.findings} == {3}
    assert [picture.name for picture in first.pictures] == ["regimes", "dimensions", "features", "cliffs"]
    assert len(first.rows["share"]) == len(experiment.SUBSPACES) * 3 * 6
    assert ((first.rows["share"] >= 0) & (first.rows["share"] <= 1 + 1e-5)).all()
    call(*TINY, "--out", root)
    second = records.read(folder)
    assert second.findings == first.findings
    for name, column in first.rows.items():
        np.testing.assert_array_equal(second.rows[name], column)


def test_measures_are_those_of_explicit_jacobians_and_components():
    s = dataclasses.replace(experiment.Settings(), features=6, hidden=(3,), sparsity=(0.3,), examples=20, flattened=14)
    net, key, rng = experiment.network(s, 3), jax.random.key(1), np.random.default_rng(0)
    params = {"weight": rng.normal(0, 0.7, (3, 6)), "bias": rng.normal(0, 0.2, 6)}
    state = TrainState(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params), None, key)
    found = jax.jit(lambda state: experiment.measure(s, net, 0.3, state, None))(state)
    xs = np.asarray(experiment.draw(s, keys.stream(key, "examples"), 0.3, 20), np.float64)
    untrained = {name: np.asarray(leaf, np.float64) for name, leaf in net.init(keys.stream(key, "init")).items()}

    jacobian = oracle.superposition_jacobian(params["weight"], params["bias"], xs)
    values, top = oracle.top_centred(oracle.trace_kernel(jacobian), 6)
    bases = {
        "eNTK": top,
        "eNTK untrained": oracle.top_centred(
            oracle.trace_kernel(oracle.superposition_jacobian(untrained["weight"], untrained["bias"], xs)), 6
        )[1],
        "hidden PCA": oracle.components(xs @ params["weight"].T, 3),
        "output PCA": oracle.components(np.maximum(xs @ params["weight"].T @ params["weight"] + params["bias"], 0), 6),
        "input PCA": oracle.components(xs, 6),
        "eNTK of W": oracle.top_centred(oracle.trace_kernel(jacobian[..., :18]), 6)[1],
        "eNTK of b": oracle.top_centred(oracle.trace_kernel(jacobian[..., 18:]), 6)[1],
    }
    for name, basis in bases.items():
        for r in (1, 3, 6):
            np.testing.assert_allclose(
                found.shares[name][r - 1], oracle.share(basis[:, :r], xs), atol=2e-4, err_msg=f"{name} {r}"
            )
    np.testing.assert_allclose(found.norms, np.linalg.norm(params["weight"], axis=0), rtol=1e-5)
    rows = jacobian[:14] - jacobian[:14].mean(0)
    flat = np.linalg.svd(rows.reshape(14 * 6, -1), compute_uv=False) ** 2
    for i, spectrum in enumerate((values, flat)):
        np.testing.assert_allclose(found.depths[i], spectrum[:6] / spectrum[1:7], rtol=1e-3)
        assert found.place[i] == 3 + np.argmax(spectrum[2:6] / spectrum[3:7])
    assert found.residual < 1e-3


def planted(s, many, place, **shares):
    """Make what was looked at, with every share of a subspace alike and a little noise."""
    rng = np.random.default_rng(0)
    norms = np.broadcast_to(np.arange(s.features) < many, (s.seeds, s.features)).astype(float)
    size = (s.seeds, s.features, s.features)
    shares = {
        name: shares.get(name.replace(" ", "_"), 0.2) + 0.001 * rng.normal(size=size) for name in experiment.SUBSPACES
    }
    return experiment.Looked(
        norms, shares, np.broadcast_to(place, (s.seeds, 2)), np.ones((s.seeds, 2, s.features)), np.zeros(s.seeds)
    )


def test_each_claim_is_judged_on_what_it_names():
    s = dataclasses.replace(experiment.Settings(), seeds=5, hidden=(10, 40), sparsity=(0.9, 0.9))
    found = [
        planted(s, 17, (10, 17), eNTK=0.9, hidden_PCA=0.6, output_PCA=0.95),
        planted(s, 45, (3, 40), eNTK=0.9, eNTK_untrained=0.9, hidden_PCA=0.91),
    ]
    # With m = 10 dimensions the kernel holds no more than the hidden units.
    found[0].shares["eNTK"][:, 9] = found[0].shares["hidden PCA"][:, 9]
    fine = np.ones((2, 5), bool)
    fine[0, 2] = False
    findings = {each.claim.name: each for each in experiment.judge(s, found, fine)}
    verdicts = {name: judge(each).verdict for name, each in findings.items()}
    held = {name for name, verdict in verdicts.items() if verdict == Verdict.SUPPORTED}
    assert held == {"recovered_10_90", "beats_hidden_10_90", "cliff_10_90"}
    assert {v for name, v in verdicts.items() if name not in held} == {Verdict.CONTRADICTED}
    assert findings["recovered_10_90"].intervals[0].n == 4
    assert "left out: 1 seeds" in findings["recovered_10_90"].note
    np.testing.assert_allclose(findings["beats_outputs_10_90"].intervals[0].estimate, -0.05, atol=0.002)
    assert f"{17 / 399:.3f}" in findings["recovered_10_90"].note


def test_the_packed_regime_is_the_sparsest_then_the_narrowest():
    assert experiment.Settings().packed == 1
    assert next(iter(experiment.claims(experiment.Settings()))) == "recovered_10_90"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--sparsity", "0.3"], "one sparsity for each hidden width"),
        (["--sparsity", "0.3", "0.9", "1.0"], "0 <= sparsity < 1"),
        (["--hidden", "10", "10", "50"], "hidden < 50 features"),
        (["--sparsity", "0.3", "0.3", "0.9"], "regimes that differ"),
        (["--flattened", "50"], "features + 1 < flattened"),
        (["--decay", "2"], "decay"),
    ],
)
def test_bad_settings_are_refused_at_once(words, match, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call("quick", *words, "--out", tmp_path)
    assert match in capsys.readouterr().err

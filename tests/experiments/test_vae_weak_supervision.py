"""The experiment at a size of seconds, from its command line: its rows, and that claims find what was put in."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import vae_weak_supervision as experiment
from interp_jax.data import named
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.vae import pairs

SOME = ("beta_vae", "ada_gvae", "labelled_gvae")
TINY = [
    "quick", "--seeds", "2", "--methods", *SOME, "--betas", "1", "16", "--latents", "5", "--hidden", "8", "--size", "8",
    "--steps", "20", "--chunk", "10", "--pairs", "4", "--points", "100",
    "--scores", "mig", "modularity",
]  # fmt: skip
QUICK = experiment.PRESETS["quick"]


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "vae_weak_supervision")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    call(*TINY, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def record(root):
    return records.read(root / "vae_weak_supervision" / "quick")


def test_every_model_has_one_row(record):
    rows = record.rows
    models = list(zip(rows["method"], rows["beta"], rows["seed"], strict=True))
    assert models == [(method, beta, seed) for method in SOME for beta in (1, 16) for seed in (0, 1)]
    for name in ("score", "mig", "modularity", *experiment.CHOOSERS, "active", "right", "found_1", "found_4"):
        assert np.isfinite(rows[name]).all(), name
    np.testing.assert_array_equal(rows["score"], rows["mig"])
    assert "sap" not in rows
    for kind in ("", "pair_"):
        np.testing.assert_allclose(rows[f"{kind}elbo"], -(rows[f"{kind}reconstruction"] + rows[f"{kind}kl"]), rtol=1e-5)
        assert (rows[f"{kind}reconstruction"] < 64 * np.log(2) + 1).all()  # nats of 8 x 8 pixels as they are
    plain = np.asarray(rows["method"]) == "beta_vae"
    np.testing.assert_allclose(rows["pair_elbo"][plain], rows["elbo"][plain])
    assert (rows["pair_shared"][plain] == 0).all()
    known = np.asarray(rows["method"]) == "labelled_gvae"
    np.testing.assert_array_equal(rows["pair_shared"][known], rows["pair_shared"][known][0])
    assert len(set(rows["constant"])) == 1


def test_what_is_not_run_is_not_tested(record):
    tested = {found.claim.name for found in record.findings if found.intervals}
    assert tested >= {"weak_supervision_disentangles", "factors_known_gains_nothing", "number_is_found"}
    left = {found.claim.name: found.note for found in record.findings if not found.intervals}
    assert left["number_known_gains_nothing"] == "gvae is not in this run"
    assert left["weak_supervision_disentangles_sap"] == "sap is not in this run"
    assert [found.claim.name for found in record.findings if found.claim.primary] == ["weak_supervision_disentangles"]
    drawn = {"score", "scores", "number", "traversals_ada_gvae", "reconstructions_beta_vae"}
    assert drawn <= {picture.name for picture in record.pictures}


def test_a_second_call_changes_no_number(root, record):
    call(*TINY, "--out", root)
    again = records.read(root / "vae_weak_supervision" / "quick").rows
    for name, column in record.rows.items():
        np.testing.assert_array_equal(column, again[name], err_msg=name)


def test_a_model_trained_alone_has_the_losses_of_its_row(record):
    """On pairs drawn here: the weak reconstruction and the latents shared, of the row's model."""
    s = dataclasses.replace(
        QUICK, seeds=2, methods=SOME, betas=(1, 16), latents=5, hidden=8, size=8, steps=20, chunk=10, pairs=4
    )
    images = named.load(s.data, s.size)
    params = experiment.train(s, "ada_gvae", images, {}).state(table.run({"beta": 16}, 1)).params
    given, key = experiment.given(s, images), jax.random.key(7)
    couples = jax.jit(images.couples(2000))(images.bits, key, 0)
    found = jax.jit(lambda params: pairs.terms("ada_gvae", params, couples, key, given))(params)
    row = next(i for i, model in enumerate(zip(record.rows["method"], record.rows["beta"], record.rows["seed"],
                                               strict=True)) if model == ("ada_gvae", 16, 1))  # fmt: skip
    np.testing.assert_allclose(found["reconstruction"], record.rows["pair_reconstruction"][row], rtol=0.05)
    np.testing.assert_allclose(found["shared"], record.rows["pair_shared"][row], atol=0.15)
    codes, _ = jax.vmap(given.model.encode, (None, 0))(params, couples.first)
    assert jnp.isfinite(codes).all()


def made(s, level, noise=0.002):
    """Rows of made-up models: `level[method]` at the larger beta, half at the smaller, for every score."""
    rng = np.random.default_rng(0)
    shape = (len(s.methods), 2, s.seeds)
    half = np.array([0.5, 1.0])[None, :, None]
    score = np.array([level[name] for name in s.methods])[:, None, None] * half + noise * rng.standard_normal(shape)
    names = [(name, beta, seed) for name in s.methods for beta in s.betas for seed in range(s.seeds)]
    flat = {name: score.ravel() for name in ("score", *experiment.REPORTED)}
    return {
        "method": [name for name, *_ in names], "beta": [beta for _, beta, _ in names],
        "seed": [seed for *_, seed in names], "diverged_at": np.full(len(names), -1), **flat,
        "right": np.full(len(names), 0.5), "constant": np.full(len(names), 0.3),
        "pair_reconstruction": -score.ravel(), "pair_elbo": rng.standard_normal(len(names)),
        "reconstruction": score.ravel(), "elbo": rng.standard_normal(len(names)),
    }  # fmt: skip


LEVEL = {
    "beta_vae": 0.2, "ada_gvae": 0.6, "gvae": 0.61, "labelled_gvae": 0.7, "ada_ml_vae": 0.5,
    "ada_ml_vae_geometric": 0.5,
}  # fmt: skip


def test_claims_find_what_was_put_in():
    s = dataclasses.replace(QUICK, seeds=6, betas=(1, 4))
    found = {each.claim.name: each for each in experiment.judge(s, made(s, LEVEL))}
    verdicts = {name: judge(each).verdict for name, each in found.items()}
    chooses = verdicts.pop("pair_elbo_chooses")
    assert chooses is not Verdict.SUPPORTED
    contradicted = {name for name, verdict in verdicts.items() if verdict is Verdict.CONTRADICTED}
    assert contradicted == {"factors_known_gains_nothing"}
    assert set(verdicts.values()) == {Verdict.SUPPORTED, Verdict.CONTRADICTED}
    assert found["weak_supervision_disentangles"].note.startswith("0.6")
    np.testing.assert_allclose(found["weak_supervision_disentangles"].intervals[0].estimate, 0.4, atol=0.01)
    np.testing.assert_allclose(found["pair_reconstruction_chooses"].intervals[0].estimate, 1.0, atol=0.05)


def test_a_model_that_diverged_takes_its_seed_out():
    s = dataclasses.replace(QUICK, seeds=6, betas=(1, 4))
    rows = made(s, LEVEL)
    rows["diverged_at"] = np.where(np.arange(72) == 3, 10, -1)  # beta-VAE, beta 1, seed 3
    found = {each.claim.name: each for each in experiment.judge(s, rows)}
    assert found["number_known_gains_nothing"].intervals[0].n == 6
    assert found["weak_supervision_disentangles"].intervals[0].n == 6  # at beta 4, which alone is whole
    assert found["pair_reconstruction_chooses"].intervals[0].n == 5
    assert "left out: seeds [3]" in found["pair_reconstruction_chooses"].note
    rows["diverged_at"] = np.where(np.arange(72) == 9, 10, -1)  # beta 4: others are judged at beta 1
    found = {each.claim.name: each for each in experiment.judge(s, rows)}
    assert found["weak_supervision_disentangles"].intervals[0].n == 5
    assert "left out: 1 seeds" in found["weak_supervision_disentangles"].note


def test_a_fixed_number_of_changes_leaves_no_number_to_find_and_few_models_no_rank():
    s = dataclasses.replace(QUICK, seeds=2, betas=(1, 4), changes=1)
    rows = made(s, LEVEL)
    rows["reconstruction"] = np.zeros(24)
    found = {each.claim.name: each for each in experiment.judge(s, rows)}
    assert not found["number_is_found"].intervals
    assert "as many factors" in found["number_is_found"].note
    assert not found["pair_reconstruction_chooses"].intervals
    assert "not finite" in found["pair_reconstruction_chooses"].note


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "beta_vae", "gan"], "got methods=('beta_vae', 'gan')"),
        (["--methods", "ada_gvae", "gvae"], "want beta_vae and ada_gvae among"),
        (["--betas", "1", "1"], "want different betas"),
        (["--betas", "0"], "betas[0]"),
        (["--changes", "5"], "want 1 <= changes < 5, the factors of dsprites, got changes=5"),
        (["--changes", "0"], "got changes=0"),
        (["--latents", "4"], "want latents >= 5"),
        (["--points", "5"], "points"),
        (["--scores", "modularity"], "one or more of"),
        (["--scores", "mig", "irs"], "got scores=('mig', 'irs')"),
        (["--seeds", "1"], "seeds"),
    ],
)
def test_wrong_settings_are_named(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit):
        call("quick", *words, "--out", tmp_path)
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_all_methods_and_images_with_nuisance_run(tmp_path):
    words = [*TINY[: TINY.index("--methods")], *TINY[TINY.index("--betas") : TINY.index("--scores")]]
    call(*words, "--changes", "2", "--data", "colour-dsprites", "--out", tmp_path)
    found = records.read(tmp_path / "vae_weak_supervision" / "quick")
    assert len(found.rows["score"]) == 24
    assert not next(each for each in found.findings if each.claim.name == "number_is_found").intervals

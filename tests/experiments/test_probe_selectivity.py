"""The experiment at a size of seconds with a small random model, and that claims find what was put in."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import probe_selectivity as experiment
from interp_jax.data import wordnet
from interp_jax.report import records
from interp_jax.report.claims import Verdict, judge
from interp_jax.runs import cli
from tests.models import languages

TINY = ["quick", "--seeds", "2", "--types", "20", "--epochs", "2", "--coded", "10"]
QUICK = experiment.PRESETS["quick"]


def small():
    """A small model, and what says which letters a word is."""
    lm, encode = languages.small()

    def locate(texts, start, stop):
        inside = [[a <= i < b for i in range(len(one))] for one, a, b in zip(texts, start, stop, strict=True)]
        return encode(texts), inside

    return lm, locate


def sentences():
    """Thirty words of six examples each, every third of them of two parts of speech."""
    texts, part, word = [], [], []
    for number in range(30):
        for example in range(6):
            texts.append(f"a {chr(97 + number % 26)}{number} b{example}")
            part.append((number + (example % 2 if number % 3 == 0 else 0)) % 4)
            word.append(number)
    stop = [text.index(" b") for text in texts]
    arrays = (np.array(each, np.int32) for each in ([2] * len(texts), stop, part, word))
    return wordnet.Examples(tuple(texts), *arrays, tuple(str(number) for number in range(30)))


def call(*words):
    cli.main(experiment.run, experiment.PRESETS, [str(word) for word in words], "probe_selectivity")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "language", small)
        patch.setattr(experiment, "WIDTHS", (4, 8))
        patch.setattr(experiment.wordnet, "examples", sentences)
        call(*TINY, "--out", folder)
        first = records.read(folder / "probe_selectivity" / "quick").rows
        call(*TINY, "--out", folder)
    return folder, first


@pytest.mark.slow
def test_rows_figures_and_a_second_call(root):
    folder, first = root
    record = records.read(folder / "probe_selectivity" / "quick")
    for name, column in first.items():
        np.testing.assert_array_equal(record.rows[name], column, err_msg=name)
    assert np.isfinite(record.rows["value"]).all()
    for name in (
        "task",
        "control",
        "untrained_task",
        "noise_task",
        "dealt",
        "unseen",
        "alone",
        "code_task",
        "repeated",
    ):
        assert name in set(record.rows["quantity"]), name
    names = {"probes", "layers", "nets", "baselines", "codes", "beyond"}
    assert {each.name for each in record.pictures} == names
    assert [each.claim.name for each in record.findings if each.claim.primary] == ["linear_is_selective"]


def test_states_are_those_of_the_word(tmp_path, monkeypatch):
    """Means over the word's tokens, taken one text at a time without marks or padding."""
    monkeypatch.setattr(experiment, "language", small)
    monkeypatch.setattr(experiment.wordnet, "examples", sentences)
    s = dataclasses.replace(QUICK, types=20, coded=10, out=tmp_path)
    words = experiment.load(s)
    known, (lm, _) = sentences(), small()
    rows = experiment.drawn(known.word, jax.random.key(2019), types=20, each=experiment.EACH)
    for place in (0, 57):
        i = rows.ravel()[place]
        ids = np.array([ord(letter) for letter in known.texts[i]], np.int32)
        states = lm.apply(lm.params, experiment.text.Text(ids, np.ones(len(ids), bool))).states
        own = np.asarray(states)[:, known.start[i] : known.stop[i]].mean(1)
        np.testing.assert_allclose(words.states[place], own, atol=1e-4)
        assert words.labels[place] == known.part[i]
    np.testing.assert_array_equal(words.ambiguous, known.word[rows[:, 0]] % 3 == 0)


def made(seeds=6, noise=0.003):
    """Made-up numbers: linear probes are selective, nets are not, the last layer is neither, context adds a little."""
    rng = np.random.default_rng(0)
    levels = {
        "task": [0.85, 0.92, 0.93, 0.94, 0.93, 0.92, 0.92], "control": [0.75, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6],
        "untrained_task": [0.7, 0.7, 0.7, 0.7], "untrained_control": [0.8, 0.8, 0.8, 0.8],
        "unseen": [0.7, 0.88, 0.88, 0.88],
        "mlp_task": [[0.92] * 3, [0.92] * 3, [0.925] * 3], "mlp_control": [[0.85] * 3, [0.9] * 3, [0.95] * 3],
        "code_task": [2.0, 3.0, 3.0, 3.0], "code_control": [1.8, 2.0, 2.0, 2.0],
        "code_untrained_task": [1.3] * 4, "code_untrained_control": [1.6] * 4, "bits_beyond": [0.01, 0.02, 0.01],
        "majority": 0.46, "dealt": 0.42, "alone": 0.6, "noise_task": 0.4, "noise_control": 0.4, "best_task": 0.94,
        "best_untrained": 0.7, "alone_ambiguous": 0.6, "task_ambiguous": 0.88, "best": 3.0, "repeated": 1.0,
        "repeated_types": 0.0, "by_type_gap": [0.2] * 40, "by_type_beyond": [0.1] * 40,
    }  # fmt: skip
    exact = ("repeated", "repeated_types", "best")
    found = {}
    for name, level in levels.items():
        shape = (seeds, *np.shape(level))
        found[name] = np.broadcast_to(level, shape) + (name not in exact) * noise * rng.standard_normal(shape)
    return found | {"ambiguous": np.tile(np.arange(40) % 2, (seeds, 1)).astype(float)}


def test_claims_find_what_was_put_in():
    found = {each.claim.name: each for each in experiment.judge(QUICK, made())}
    verdicts = {name: judge(each).verdict for name, each in found.items()}
    contradicted = {name for name, verdict in verdicts.items() if verdict is Verdict.CONTRADICTED}
    assert contradicted == {
        "last_layer_is_more_selective", "last_layer_is_less_accurate", "context_adds", "word_alone_explains_most"
    }  # fmt: skip
    assert set(verdicts.values()) == {Verdict.SUPPORTED, Verdict.CONTRADICTED}
    assert "over 40 types" in found["linear_is_selective"].note
    assert "over 20 types" in found["context_decides_doubt"].note
    rows = experiment.rows_of(QUICK, made())
    assert len(rows["value"]) == len(rows["quantity"]) > 100


def test_selectivity_is_undefined_where_no_type_is_repeated():
    assert np.isnan(experiment.widened(made() | {"repeated": np.zeros(6)})["linear_selectivity"]).all()


@pytest.mark.parametrize(
    "words",
    [["--seeds", "1"], ["--types", "12"], ["--types", "5"], ["--weaker", "0"], ["--coded", "900"], ["--epochs", "0"]],
)
def test_settings_are_checked(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.read(experiment.PRESETS, ["quick", *words], "probe_selectivity")
    assert end.value.code == 2
    assert words[0][2:] in capsys.readouterr().err

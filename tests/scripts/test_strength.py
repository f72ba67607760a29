import json
import sys
from pathlib import Path

import numpy as np
import pytest

from interp_jax.data.images import Labelled

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

import strength
import strength_jax
import strength_nets
import strength_report as report
import strength_units as units
from strength_nets import Network, Setting

NET = Network("tiny", "mlp", None)
SETTING = Setting(
    data="digits", networks=(NET,), balls=(("linf", 0.1),), attacks=("pgd", "standard"),
    rows=4, steps=2, chunk=1, batch=4, lr=1e-3,
)  # fmt: skip
CORRECT = np.array([True, True, True, True, False, True])


def outcome(margin, size=0.1, seconds=1.0):
    return units.Outcome(np.array(margin, float), np.broadcast_to(np.float64(size), len(margin)), seconds)


def test_outcomes_are_paired_example_by_example():
    ours = outcome([1, 1, -1, 5e-5, 1, -1])
    peer = outcome([1, -1, 1, -1, -1, -1], seconds=2)
    row = report.pair(ours, peer, CORRECT, 0.1)
    assert (row["ours"], row["peer"]) == (33.3333, 50.0)  # 2 and 3 of 6 stand, the misclassified one on neither side
    assert row["difference"] == -16.6667
    assert (row["only_ours"], row["only_peer"]) == (2, 1)
    assert row["close"] == [1, 0]
    assert row["seconds"] == [1, 2]


def test_what_lies_outside_the_ball_does_not_count():
    ours = outcome([1, 1, 1, 1, 1, 1], [0.1, 0.100001, 0.11, 0.2, 0.2, 0.0])
    row = report.pair(ours, outcome([-1] * 6), CORRECT, 0.1)
    assert row["beyond"] == [2, 0]
    assert row["only_ours"] == 3


def test_sizes_are_norms_of_whole_perturbations():
    d = np.array([[[3.0], [-4.0]], [[0.0], [1.0]]], np.float32)
    np.testing.assert_allclose(units.sizes(d, "linf"), [4, 1])
    np.testing.assert_allclose(units.sizes(d, "l2"), [5, 1])


def test_an_image_that_a_member_alone_fools_and_the_ensemble_does_not_is_counted():
    members = [outcome([1, -1, -1, -1, 1, -1]), outcome([1, 1, -1, -1, 1, -1])]
    assert report.above(outcome([1, 1, -1, 1, -1, -1]), members, CORRECT, 0.1) == 0
    assert report.above(outcome([-1, 1, -1, 1, -1, -1]), members, CORRECT, 0.1) == 1


def test_cells_are_summed_up_over_seeds_with_an_interval():
    place = {"net": "tiny", "norm": "linf", "eps": 0.1, "attack": "pgd", "side": "foolbox", "only_ours": 2}
    rows = [
        place | {"seed": seed, "ours": 50.0 + value, "peer": 50.0, "difference": value, "only_peer": 1}
        for seed, value in enumerate([-1.0, 0.0, 1.0])
    ]
    (both,) = report.summarise(rows)
    assert (both["difference"], both["largest"], both["only_ours"], both["only_peer"]) == (0, 1, 6, 3)
    half = 4.302653 / 3**0.5  # Student's quantile with two degrees of freedom; the standard deviation is 1
    np.testing.assert_allclose(both["interval"], [-half, half], rtol=1e-3)
    others = [row | {"net": "other", "difference": row["difference"] + 2} for row in rows[:2]]
    (whole,) = report.summarise(rows + others, ("attack", "side"))
    assert (whole["seeds"], whole["difference"], whole["largest"]) == (2, 0.5, 2)  # seed 2 lacks a cell
    (one,) = report.summarise(rows[:1])
    assert one["interval"] is None
    assert "foolbox" in report.table([one, both])


def test_a_cell_counts_when_all_its_blocks_are_there(tmp_path):
    blocks = strength.blocks(SETTING, "ours", (NET, 0, "pgd", "linf", 0.1), 6)
    assert [(unit.start, unit.stop) for unit in blocks] == [(0, 4), (4, 6)]
    units.work(blocks[0].path(tmp_path), lambda: (np.arange(4.0), np.zeros(4)))
    assert report.whole(tmp_path, blocks) is None
    units.work(blocks[1].path(tmp_path), lambda: (np.arange(4.0, 6.0), np.zeros(2)))
    found = report.whole(tmp_path, blocks)
    assert found.margin.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.seconds > 0


class Peers:
    """Stands in for the other process: it fools every second image."""

    def __init__(self):
        self.asked = []

    def ask(self, *, to, start, stop, **job):
        self.asked.append((job["side"], job["attack"], start))
        units.write(
            Path(to), margin=np.where(np.arange(start, stop) % 2, 1.0, -1.0), size=np.zeros(stop - start), seconds=0.5
        )


def test_a_killed_comparison_goes_on_where_it_was(tmp_path, monkeypatch):
    test, done = Labelled(np.zeros((6, 8, 8, 1), np.float32), np.zeros(6, np.int32)), []

    def attack(setting, network, unit, params, data):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(unit)
        return np.ones(unit.stop - unit.start), np.zeros(unit.stop - unit.start)

    monkeypatch.setattr(strength_jax, "attack", attack)
    params = strength_nets.model("mlp", "digits").init(strength.jax.random.key(0))
    units.write(strength._weights(tmp_path, "tiny", 0), **strength_nets.flat(params))
    peers = Peers()
    with pytest.raises(KeyboardInterrupt):
        strength.evaluate(SETTING, 1, test, tmp_path, peers)
    before, asked = list(done), list(peers.asked)
    done.clear()
    strength.evaluate(SETTING, 1, test, tmp_path, peers)
    again = [unit for unit in done if unit in before] + [job for job in peers.asked[len(asked) :] if job in asked]
    assert not again
    assert not list(tmp_path.rglob("*.partial"))
    rows, beaten = strength.gather(SETTING, 1, {("tiny", 0): CORRECT}, tmp_path)
    assert [(row["attack"], row["side"]) for row in rows] == [
        ("pgd", "torchattacks"), ("pgd", "foolbox"), ("standard", "autoattack")
    ]  # fmt: skip
    assert all((row["only_ours"], row["only_peer"]) == (2, 0) for row in rows)
    assert beaten == {}  # no member was run alone
    strength.write(tmp_path / "found.json", "trial", SETTING, {"images": 6}, rows, beaten)
    written = json.loads((tmp_path / "found.json").read_text())
    assert len(written["rows"]) == len(written["by_cell"]) == len(written["by_attack"]) == 3
    named = dict(zip(written["columns"].split(", "), written["rows"][0], strict=True))
    assert (named["side"], named["only_ours"]) == ("torchattacks", 2)


def test_a_folder_belongs_to_one_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(strength.provenance, "revision", lambda: "first")
    assert strength.claim(tmp_path, SETTING, 6) == ["first"]
    assert strength.claim(tmp_path, SETTING._replace(attacks=("pgd",)), 6) == ["first"]
    monkeypatch.setattr(strength.provenance, "revision", lambda: "second")
    assert strength.claim(tmp_path, SETTING, 6) == ["first", "second"]
    with pytest.raises(SystemExit, match="belongs to another setting"):
        strength.claim(tmp_path, SETTING._replace(rows=5), 6)


def test_weights_go_to_a_file_and_back(tmp_path):
    net = strength_nets.model("cnn", "digits")
    params = net.init(strength.jax.random.key(0))
    units.write(tmp_path / "net.npz", **strength_nets.flat(params))
    strength.jax.tree.map(np.testing.assert_array_equal, strength_nets.nested(tmp_path / "net.npz"), params)


def test_our_side_gives_margins_and_sizes_of_what_it_found():
    images = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    net = strength_nets.model("mlp", "digits")
    params = net.init(strength.jax.random.key(0))
    labels = strength_jax.logits(SETTING, NET, params, Labelled(images, np.zeros(5, np.int32))).argmax(1)
    unit = units.Unit("ours", "tiny", 0, "pgd-targeted", "linf", 0.3, 1, 5)
    margin, size = strength_jax.attack(SETTING, NET, unit, params, Labelled(images, labels.astype(np.int32)))
    assert margin.shape == size.shape == (4,)
    assert (size <= 0.3 + 1e-6).all()
    assert ((margin > 0) == (size > 0)).all()  # the clean image is given back where no attack succeeds

"""What is shared by the pages of space and time: claims of cells that are not there, rows, and which layers."""

import numpy as np

from interp_jax.probes import coordinates_scores as scores
from interp_jax.report import coordinates
from interp_jax.report.coordinates import Stated

RNG = np.random.default_rng(0)
TRUE = RNG.permutation(np.linspace(-1, 1, 60))[:, None]


def tally(clusters):
    found = TRUE / 2 + 0.1 * np.resize([1, -1, -1, 1, 2], (60, 1)) * TRUE
    return scores.r2(TRUE, found[None], np.arange(60) % clusters, clusters)


def test_claims_without_a_cell_or_with_few_clusters_are_not_tested():
    stated = {
        name: Stated("It is so.", "a score", ("random", name, "r2"), 0.0, 0.1) for name in ("many", "few", "lost")
    }
    claims = coordinates.claims(stated, source="paper", unit="decades", scope="all", primary="few")
    table = {("random", "many", "r2"): tally(30), ("random", "few", "r2"): tally(7)}
    many, few, lost = coordinates.judge(claims, stated, table, {"many": "more"})
    assert [each.claim.primary for each in (many, few, lost)] == [False, True, False]
    assert abs(many.intervals[0].estimate - table["random", "many", "r2"].value) < 1e-9
    assert many.note == f"{table['random', 'many', 'r2'].value:.3f} against 0.000; more"
    assert few.intervals == lost.intervals == ()
    assert few.note == "7 decades, fewer than 20"


def test_rows_hold_every_number_once():
    layers, curve = RNG.normal(size=(2, 2, 6)), RNG.normal(size=(2, 2, 2))
    table = {("random", "layers", "r2"): tally(30)}
    ranks = {("block", "layers", "rank"): np.array([0.5, 0.25])}
    rows = coordinates.rows_of(table, ranks, {"layers": layers, "curve": curve}, (2, 5))
    assert len(set(zip(*[rows[name] for name in rows if name != "value"], strict=True))) == len(rows["value"])
    got = dict(zip(zip(*[rows[n] for n in ("division", "quantity", "seed", "place")], strict=True), rows["value"],
                   strict=True))  # fmt: skip
    assert got["block", "r2_layer", 1, 3] == layers[1, 1, 3]
    assert got["random", "r2_random_axes", 0, 5] == curve[0, 1, 1]
    assert got["random", "r2_low", -1, 0] < got["random", "r2", -1, 0] < got["random", "r2_high", -1, 0]
    assert got["block", "rank", 0, 0] == 0.5


def test_layers_that_were_chosen_are_named():
    found = {"layers": np.zeros((1, 2, 14)), "chosen": {"late": np.array([[[1, 13, 13], [0, 7, 7]]])}}
    assert coordinates.chosen(found, "late") == "mean 1 (1 times), last 6 (2 times)"
    assert coordinates.chosen(found, "late", 1) == "mean 0 (1 times), last 0 (2 times)"

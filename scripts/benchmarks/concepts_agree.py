"""Compare the CEM paper's models in our implementation and in its peer, cell by cell, by equivalence.

First the two sides, each from 20 seeds or more on the same examples:

    .venv/bin/python scripts/benchmarks/concepts_jax.py --seeds 20 --epochs 150 --out OURS.json
    .peers/torch/bin/python scripts/benchmarks/concepts_torch.py --seeds 20 --epochs 150 --out PEER.json

then `.venv/bin/python scripts/benchmarks/concepts_agree.py OURS.json PEER.json`. A side may be several files of
different seeds, joined by commas.

A cell is a data set, a model and a number: concept accuracy, the task's with 0, 1, ... k known concepts, and with every
concept wrong. The rule, fixed before the runs: where the peer's seeds have a standard deviation of at most .01 the two
means must be equivalent within .01 (two one-sided Welch tests at 5%, each cell on its own: that all pass is an
intersection of claims and needs no correction). Where they vary more (seeds that end in one of two solutions, logits
under interventions) no such test has power at this size; there the two samples are compared by a permutation test of
Welch's t, which sees a difference in means, and of the Cramer-von Mises distance, which sees one in shape, and Holm's
correction is over all those tests in the table: agreement is that none is below 5%. The power of these tests is in the
table as the smallest difference of means that they would find, 2.8 standard errors.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import jax
import numpy as np
from scipy import stats

from interp_jax.core import intervals, multiplicity
from interp_jax.core.types import Numpy

HERE = Path(__file__).parent
DELTA, NARROW, DRAWS = 0.01, 0.01, 10_000


def read(names: str) -> tuple[dict, list[dict]]:
    """Read the files of one side: what they have in common, and all rows."""
    files = [json.loads(Path(name).read_text()) for name in names.split(",")]
    facts = {key: value for key, value in files[0].items() if key not in ("rows", "seconds")}
    rows = [row for file in files for row in file["rows"]]
    ids = [(row["data"], row["model"], row["seed"]) for row in rows]
    if len(set(ids)) != len(ids):
        raise SystemExit("concepts_agree: a model's seed is in two files")
    return facts, rows


def cells(rows: list[dict]) -> dict[tuple[str, str, str], Numpy]:
    """Collect the seeds of each cell."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        numbers = {"concepts": row["concepts"], "wrong": row["wrong"]}
        numbers |= {f"{known} known": value for known, value in enumerate(row["curve"])}
        for name, value in numbers.items():
            # The sides round shares of examples differently, which would order equal ones.
            found.setdefault((row["data"], row["model"], name), []).append(round(value, 6))
    return {cell: np.array(values) for cell, values in found.items()}


def permuted(a: Numpy, b: Numpy) -> dict[str, float]:
    """Give p of equal means, and of equal distributions, by permuting which side a seed is of."""
    means = float(multiplicity.max_t_two(a[:, None], b[:, None], draws=DRAWS).p[0]) if np.ptp([*a, *b]) else 1.0

    def distance(x: Numpy, y: Numpy) -> float:
        return stats.cramervonmises_2samp(x, y, method="asymptotic").statistic

    shapes = stats.permutation_test(
        (a, b), distance, n_resamples=999, alternative="greater", rng=np.random.default_rng(0)
    )
    return {"p_means": means, "p_shapes": float(shapes.pvalue)}


def compare(ours: dict, peer: dict) -> list[dict]:
    """Give one row a cell; those that vary have p-values, corrected over the table."""
    table = []
    for cell in peer:
        a, b = ours[cell], peer[cell]
        found = intervals.welch(a, b)
        row = {"data": cell[0], "model": cell[1], "number": cell[2], "ours": a.mean(), "peer": b.mean()}
        row |= {"difference": found.estimate, "sd_ours": a.std(ddof=1), "sd_peer": b.std(ddof=1)}
        row |= {"n_ours": len(a), "n_peer": len(b)}
        if row["sd_peer"] <= NARROW:
            test = intervals.equivalence(found, DELTA)
            row |= {"low": test.low, "high": test.high, "equivalent": bool(test.equivalent)}
        else:
            row |= {"detectable": 2.8 * found.se} | permuted(a, b)
        table.append(
            {key: value if isinstance(value, str | bool | int) else float(value) for key, value in row.items()}
        )
    asked = [(row, name) for row in table for name in ("p_means", "p_shapes") if name in row]
    if asked:
        for (row, name), p in zip(asked, multiplicity.holm([row[name] for row, name in asked]), strict=True):
            row[f"holm{name[1:]}"] = float(p)
    return table


def agrees(row: dict) -> bool:
    """Apply the rule to a cell."""
    return row["equivalent"] if "equivalent" in row else min(row["holm_means"], row["holm_shapes"]) >= 0.05


def show(table: list[dict]) -> None:
    """Print the table."""
    for row in table:
        test = (
            f"90% [{row['low']:+.4f}, {row['high']:+.4f}]"
            if "equivalent" in row
            else f"Holm {row['holm_means']:.3f} {row['holm_shapes']:.3f}, would see {row['detectable']:.3f}"
        )
        numbers = (
            f"{row['ours']:.4f} {row['peer']:.4f} {row['difference']:+.4f} sd {row['sd_ours']:.4f} {row['sd_peer']:.4f}"
        )
        print(
            f"{row['data']:5}{row['model']:16}{row['number']:10}{numbers}  {test}{'' if agrees(row) else '  DIFFERENT'}"
        )
    narrow = [row for row in table if "equivalent" in row]
    print(f"{sum(row['equivalent'] for row in narrow)} of {len(narrow)} narrow cells equivalent within {DELTA}")
    wide = [row for row in table if "equivalent" not in row]
    print(f"{sum(agrees(row) for row in wide)} of {len(wide)} wide cells show no difference")


def main() -> None:
    """Read both sides, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", help="JSON of concepts_jax.py, or several with commas")
    parser.add_argument("peer", help="JSON of concepts_torch.py, or several with commas")
    parser.add_argument("--out", type=Path, default=HERE / "results/concepts-agree.json", help="(default: %(default)s)")
    options = parser.parse_args()
    (ours, our_rows), (peer, peer_rows) = read(options.ours), read(options.peer)
    if ours["epochs"] != peer["epochs"]:
        parser.error(f"want equal epochs, got {ours['epochs']} and {peer['epochs']}")
    table = compare(cells(our_rows), cells(peer_rows))
    show(table)
    found = {"benchmark": "concepts-agree", "date": datetime.now(UTC).isoformat(timespec="seconds")}
    found |= {"ours": ours, "peer": peer, "delta": DELTA, "narrow": NARROW, "table": table}
    found |= {"versions": {"numpy": np.__version__, "jax": jax.__version__}}
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

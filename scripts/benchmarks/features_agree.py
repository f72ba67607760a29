"""Compare the data sets of Ilyas et al. 2019 in our implementation and in its peer, `features_torch.py`.

First the two sides, on the same digits (`features_torch.py --help` says how digits.npz is made); each takes minutes:

    python experiments/adversarial_features.py quick --seeds 20 --out OURS
    .peers/attacks/bin/python scripts/benchmarks/features_torch.py --data digits.npz --teachers 20 --seed 1 \
        --init glorot --back projected --loss exact --out PEER.json

then `python scripts/benchmarks/features_agree.py OURS/adversarial_features/quick PEER.json`. More files of the peer, of
other settings, give more tables. Without its flags the peer begins LeCun-normal, clips after scaling and attacks a loss
that float32 rounds, and 20 of 41 t exceed 2: robust accuracies and those of D_rand and D_other come out higher by .02
to .04, mostly from the first weights; D_rand is a little nearer to the images where its labels are true, from the loss.

A number is the mean over teachers of the mean over learning rates and students. Teachers are the unit on both sides,
the sides are independent: Welch's t compares them, and Holm's correction says which of a table's differences are more
than the many looks at it explain. Noise of ours is compared with the peer's "noise, lengthened": both have the
full norm within the bounds.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from interp_jax.core import intervals, multiplicity
from interp_jax.core.types import Numpy
from interp_jax.report import records

SETS = ("D", "D_R", "D_NR", "D_rand", "D_rand noise", "D_det", "D_det noise", "D_other")
COLUMNS = ("clean", "following", "robust", "hit", "size", "error")
TEACHERS = tuple(f"{kind}_teacher_{name}" for kind in ("standard", "robust") for name in ("clean", "robust"))
HERE = Path(__file__).parent


def by_teacher(teacher: Numpy, values: Numpy) -> Numpy:
    """Give each teacher's mean `[T]`."""
    return np.array([values[teacher == each].mean(dtype=np.float64) for each in np.unique(teacher)])


def ours(rows: dict[str, Numpy], name: str, column: str) -> Numpy | None:
    """Give our teachers' values `[T]`, or None where the column means nothing."""
    chosen = rows["set"] == name
    values = rows[column][chosen]
    return by_teacher(rows["teacher"][chosen], values) if np.isfinite(values).any() else None


def peer(rows: list[dict], name: str, column: str) -> Numpy:
    """Give the peer's teachers' values `[T]`."""
    name = f"{name}, lengthened" if name.endswith("noise") else name
    chosen = [row for row in rows if row["set"] == name]
    return by_teacher(*(np.array([row[key] for row in chosen]) for key in ("teacher", column)))


def difference(a: Numpy, b: Numpy) -> dict[str, float]:
    """Compare the means of two independent samples; where neither varies, p is 1 if they agree, and 0 if not."""
    found = intervals.welch(a, b)
    constant = found.se < 1e-9
    p = float(abs(found.estimate) < 1e-6) if constant else intervals.p_value(found)
    fields = {"ours": a.mean(), "peer": b.mean(), "difference": found.estimate, "standard_error": found.se, "p": p}
    return {name: float(value) for name, value in fields.items()}


def compare(rows: dict[str, Numpy], theirs: list[dict]) -> list[dict]:
    """Give one row a set and column: both means, their difference, its standard error, p, and p as Holm corrects it."""
    asked = [(name, column) for name in SETS for column in COLUMNS] + [("D", column) for column in TEACHERS]
    pairs = [(name, column, ours(rows, name, column)) for name, column in asked]
    table = [
        {"set": name, "column": column} | difference(values, peer(theirs, name, column))
        for name, column, values in pairs
        if values is not None
    ]
    corrected = multiplicity.holm([row["p"] for row in table])
    return [row | {"holm": float(p)} for row, p in zip(table, corrected, strict=True)]


def show(settings: dict, table: list[dict]) -> None:
    """Print a table."""
    print("peer:", ", ".join(f"{name} {value}" for name, value in settings.items()))
    print(f"{'set':14}{'column':25}{'ours':>9}{'peer':>9}{'difference':>12}{'std. error':>12}{'p':>9}{'Holm':>9}")
    for row in table:
        numbers = f"{row['ours']:9.4f}{row['peer']:9.4f}{row['difference']:12.4f}{row['standard_error']:12.5f}"
        print(f"{row['set']:14}{row['column']:25}{numbers}{row['p']:9.4f}{row['holm']:9.3f}")
    different = sum(row["holm"] < 0.05 for row in table)
    print(f"{different} of {len(table)} differ at 5%, corrected for their number\n")


def main() -> None:
    """Read both sides, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=Path, help="folder of our record")
    parser.add_argument("peer", type=Path, nargs="+", help="JSON of features_torch.py")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results/features-digits.json", help="(default: %(default)s)"
    )
    options = parser.parse_args()
    record = records.read(options.ours)
    if record.rows is None:
        parser.error(f"want a record with rows, got {options.ours}")
    tables = []
    for path in options.peer:
        side = json.loads(path.read_text())
        table = compare(record.rows, side["rows"])
        show(side["settings"], table)
        tables.append({"peer": {name: side[name] for name in ("settings", "versions")}, "table": table})
    told = {name: record.manifest[name] for name in ("config", "device", "git_revision", "versions")}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    found = {
        "benchmark": "features-digits",
        "date": date,
        "device": told["device"],
        "ours": told,
        "comparisons": tables,
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""DCI boosted in JAX beside scikit-learn's: how many times as fast, and whether it ranks models alike.

    .venv/bin/python scripts/benchmarks/dci.py train --work DIR        # 32 seeds of beta-VAE at beta 4, their codes
    .venv/bin/python scripts/benchmarks/dci.py reference --work DIR    # scikit-learn on two draws of points of each
    .venv/bin/python scripts/benchmarks/dci.py ranks --work DIR        # rank correlations, as JSON
    .venv/bin/python scripts/benchmarks/dci.py speed --work DIR        # both on identical codes, paired, as JSON

Models of one method and one strength differ by their seed alone, which is the hardest test of a rank correlation. No
score can agree with the reference better than the reference with itself on other points (its retest correlation); the
bar is that less .05. The reference takes a minute of CPU a model at 1,000 points (the study's 10,000: `--points`).
`reference` is resumed by rerunning, and shared by processes with `--part I/N`.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import vae_models
from harness import device_name, median_interval

from interp_jax.core import keys
from interp_jax.core.bootstrap import FEWEST, bootstrap, jackknife
from interp_jax.core.correlation import rank_correlations
from interp_jax.core.types import Array, Numpy
from interp_jax.data import dsprites
from interp_jax.data import factors as sets
from interp_jax.runs import distributed, parts, provenance
from interp_jax.train.sweep import Sweep
from interp_jax.vae import metrics

SIZES = dsprites.FACTOR_SIZES
DRAWS = 2
OURS = {
    "dci_trees": lambda c, f, tc, tf: metrics.dci_trees(c, f, tc, tf, SIZES),
    "dci_lasso": metrics.dci_lasso,
}
SCORES = ("disentanglement", "completeness", "test")


def train(options: argparse.Namespace) -> None:
    """Train the models and write codes `[S, draws, 1.5 N, D]` and factors `[draws, 1.5 N, F]`."""
    distributed.use_every_core()
    setting = vae_models.Setting()
    data = vae_models.bits(setting)
    given = (options.method, (options.strength,), options.seeds)
    done = vae_models.train(setting, *given, data, options.work / f"{options.method}-{options.strength:g}")
    if done.diverged:
        raise SystemExit(f"dci: these runs diverged: {done.diverged}")
    save(options, setting, done)


def save(options: argparse.Namespace, setting: vae_models.Setting, done: Sweep) -> None:
    """Write the codes of two draws of points, the same for all models."""
    rows = options.points + options.points // 2
    key = keys.stream(jax.random.key(2019), "points")
    drawn = jnp.stack([sets.sample_factors(keys.at(key, i), SIZES, rows) for i in range(DRAWS)])
    net, shape = vae_models.training(setting).model, (setting.size, setting.size, 1)

    def encode(state: Any, given: tuple[Array, Array]) -> Array:
        return jax.lax.map(lambda f: vae_models.codes(net, state.params, given[0], f, shape), given[1])

    codes = done.map(encode, (done.data, drawn))
    np.savez(options.work / "codes.npz", codes=codes, factors=drawn, points=options.points)


def load(work: Path) -> tuple[Numpy, Numpy, int]:
    """Give codes, factors and the number of points to train on."""
    with np.load(work / "codes.npz", allow_pickle=False) as file:
        return file["codes"], file["factors"], int(file["points"])


def split(codes: Numpy, factors: Numpy, points: int) -> tuple[Numpy, Numpy, Numpy, Numpy]:
    """Give train codes and factors, test codes and factors."""
    return codes[:points], factors[:points], codes[points:], factors[points:]


def reference(options: argparse.Namespace) -> None:
    """Fit what is missing of the reference, one file for each model and draw."""
    codes, factors, points = load(options.work)
    started = time.monotonic()
    part = parts.Part.parse(options.part)
    todo = [(i, j) for i in range(min(len(codes), options.seeds)) for j in range(DRAWS)]
    for i, j in part.share(todo):
        path = options.work / f"reference-{i}-{j}.json"
        if path.exists():
            continue
        if time.monotonic() - started > options.seconds:
            break
        before = time.process_time()
        found = metrics.dci(*split(codes[i, j], factors[j], points))
        row = {name: float(getattr(found, name)) for name in SCORES} | {"cpu_seconds": time.process_time() - before}
        path.write_text(json.dumps(row | {"importance": np.asarray(found.importance).tolist()}))
        print(path.name, {name: round(value, 4) for name, value in row.items()}, flush=True)


def references(options: argparse.Namespace, models: list[int]) -> tuple[dict[str, Numpy], Numpy]:
    """Read scores `[S, draws]` by name, and CPU seconds."""
    rows = [[json.loads((options.work / f"reference-{i}-{j}.json").read_text()) for j in range(DRAWS)] for i in models]
    of = {name: np.array([[row[name] for row in each] for each in rows]) for name in (*SCORES, "cpu_seconds")}
    return of, of.pop("cpu_seconds")


def agreement(values: Numpy) -> Numpy:
    """Give rank correlations from values `[S, 4]`, of the reference on draws A, B and ours on A, B.

    `[4]`: retest (reference A, reference B), ours on other points than the reference's, ours on the same points, and
    ours with itself.
    """
    r = rank_correlations(values, values)
    return np.array([r[0, 1], (r[0, 3] + r[1, 2]) / 2, (r[0, 2] + r[1, 3]) / 2, r[2, 3]])


def ranks(options: argparse.Namespace) -> dict:
    """Compare rankings of the models that have their reference scores, with intervals over models."""
    codes, factors, points = load(options.work)
    models = [
        i for i in range(min(len(codes), options.seeds))
        if all((options.work / f"reference-{i}-{j}.json").exists() for j in range(DRAWS))
    ]  # fmt: skip
    codes = codes[models]
    of, seconds = references(options, models)
    found: dict[str, Any] = {
        "method": options.method, "strength": options.strength, "models": len(codes), "points": points,
        "interval": "bootstrap" if len(codes) >= FEWEST else "jackknife",
        "reference_cpu_seconds_a_fit": float(seconds.mean()),
    }  # fmt: skip
    for name, score in OURS.items():
        one = jax.jit(lambda c, f, score=score: score(*split(c, f, points)))
        ours = [[one(jnp.asarray(each[j]), jnp.asarray(factors[j])) for j in range(DRAWS)] for each in codes]
        for field in SCORES:
            mine = np.array([[float(getattr(value, field)) for value in each] for each in ours])
            found[f"{name}, {field}"] = compared(np.concatenate([of[field], mine], 1))
    return found


def compared(values: Numpy) -> dict:
    """Give the correlations with intervals, and by how much ours falls short of the retest."""
    names = ("retest", "other_points", "same_points", "own_retest")

    def statistic(rows: Numpy) -> Numpy:
        r = agreement(rows)
        return np.concatenate([r, r[1:3] - r[:1]])

    # a few models are too few to resample
    few = len(values) < FEWEST
    interval = jackknife(statistic, values) if few else bootstrap(statistic, values, seed=0, draws=1999)
    every = zip((*names, "other_less_retest", "same_less_retest"), *interval[:3], strict=True)
    out: dict[str, Any] = {name: [round(float(x), 4) for x in bounds] for name, *bounds in every}
    return out | {"means": values.mean(0).round(4).tolist(), "spreads": values.std(0, ddof=1).round(4).tolist()}


def speed(options: argparse.Namespace) -> dict:
    """Time both on identical codes, one after the other, some rounds; CPU seconds of all threads, and wall."""
    codes, factors, points = load(options.work)
    one = jax.jit(lambda c, f: OURS["dci_trees"](*split(c, f, points)))
    arrays = [(jnp.asarray(codes[i, 0]), jnp.asarray(factors[0])) for i in range(options.rounds)]
    jax.block_until_ready(one(*arrays[0]))
    rows = []
    for i, given in enumerate(arrays):
        ours = timed(partial(lambda g: jax.block_until_ready(one(*g)), given))
        theirs = timed(lambda i=i: metrics.dci(*split(codes[i, 0], factors[0], points)))
        again = timed(partial(lambda g: jax.block_until_ready(one(*g)), given))
        mine = (np.array(ours) + again) / 2
        rows.append({"ours": mine.tolist(), "scikit-learn": list(theirs)})
        print(rows[-1], flush=True)
    ratios = {kind: [r["scikit-learn"][k] / r["ours"][k] for r in rows] for k, kind in enumerate(("wall", "cpu"))}
    return {
        "points": points, "rounds": rows, "unit": "[wall, CPU] seconds",
        "ratios": {kind: dict(zip(("median", "low", "high"), median_interval(np.array(v)), strict=True))
                   for kind, v in ratios.items()},
    }  # fmt: skip


def timed(work: Any) -> tuple[float, float]:
    """Give wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Do one part; write JSON for `ranks` and `speed`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "reference", "ranks", "speed"])
    parser.add_argument("--work", type=Path, required=True, help="folder of models, codes and reference scores")
    parser.add_argument("--method", default="beta_vae")
    parser.add_argument("--strength", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=32, help="models (default: %(default)s)")
    parser.add_argument("--points", type=int, default=1000, help="to fit on; half as many test (the study: 10000)")
    parser.add_argument("--part", default="1/1", help="a share of the reference's fits")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no fit of the reference after these")
    parser.add_argument("--rounds", type=int, default=3, help="models that `speed` is timed on")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="(default: %(default)s)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.what in ("train", "reference"):
        (train if options.what == "train" else reference)(options)
        return
    found = (ranks if options.what == "ranks" else speed)(options)
    head = {"date": provenance.now(), "device": device_name(), "versions": provenance.versions()}
    slug = "".join(c if c.isalnum() else "-" for c in device_name().lower()).strip("-")
    label = f"-{options.method}-{options.strength:g}" if options.what == "ranks" else ""
    name = f"dci_{options.what}{label}-{found['points']}--{slug}.json"
    (options.out / name).write_text(json.dumps(head | found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

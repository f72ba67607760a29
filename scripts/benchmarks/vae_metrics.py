"""Given their codes, do all metrics of 64 models take less time than training such models for 100 steps?

    .venv/bin/python scripts/benchmarks/vae_metrics.py whole --work DIR   # 64 models, in turns with training, as JSON
    .venv/bin/python scripts/benchmarks/vae_metrics.py parts --work DIR   # each metric alone, two models, as JSON

Metrics: `protocol.scores` at the study's size (10,000 points, 5,000 to test on, 15,000 votes, four numbers of labels),
in the sweep's program on a device a core, and UDR among all models. Codes are of small models trained for the purpose
(beta-VAE at 1 and 4); those of all 737,280 images are made first and counted apart. Training: the study's network and
batch, 64 models, for some steps in each round; 100 steps are that many times as long, which `linear` in the JSON shows.
Seconds are wall and CPU (all threads). `--turns` waits for a line of standard input before each round that is timed,
so that a shared machine can be reserved, and says when it ends.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import vae_models
from harness import device_name

from interp_jax.core.information import standard_normal_kl
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data import dsprites, packed
from interp_jax.data import factors as sets
from interp_jax.models import vae
from interp_jax.runs import distributed, provenance
from interp_jax.train import meshes, program, table
from interp_jax.train.groups import GroupChain
from interp_jax.train.sweep import Sweep
from interp_jax.train.trainer import measurement, trainer
from interp_jax.vae import metrics, objectives
from interp_jax.vae.metrics import protocol

SIZES = dsprites.FACTOR_SIZES
BATCH, STEPS = 64, 100
"""Images a step; the steps that metrics are compared with."""
KINDS = {
    "MIG, modularity": ("mig", "modularity"),
    "DCI trees": ("dci", "dci_completeness", "dci_informativeness"),
    "BetaVAE score": ("beta_vae",),
    "FactorVAE score": ("factor_vae",),
    "SAP": ("sap",),
    "IRS": ("irs",),
    "explicitness": ("explicitness",),
    "InfoM, InfoC": ("infom", "infoc"),
    "InfoE": ("infoe",),
    "total correlation, Wasserstein": ("total_correlation", "wasserstein"),
    "mean pairwise information": ("mean_pairwise_information",),
    **{f"downstream, {n:,} labels": (f"downstream_{n}",) for n in (10, 100, 1000, 10_000)},
}
"""What is timed together, by names of `protocol.scores`; what is not asked for is not computed."""


class Clock:
    """Times rounds; waits for its turn first, if told to."""

    def __init__(self, turns: bool) -> None:
        self.turns = turns

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a line; say when it ends."""
        if self.turns:
            print("ready", flush=True)
            if not sys.stdin.readline():
                raise SystemExit("vae_metrics: standard input ended before the last round")
        yield
        if self.turns:
            print("done", flush=True)

    def time(self, work: Callable[[], Any]) -> dict[str, float]:
        """Give wall and CPU seconds of `work`, whose arrays are waited for."""
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(work())
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def trained(work: Path, models: int) -> tuple[Sweep, vae.VAE]:
    """Train the small models, half of them at beta 1 and half at 4."""
    setting = vae_models.Setting()
    data = vae_models.bits(setting)
    found = vae_models.train(setting, "beta_vae", (1.0, 4.0), -(-models // 2), data, work / "models")
    return found, vae_models.training(setting).model


def encoder(model: vae.VAE) -> Callable[[PyTree, Array], tuple[Array, Array]]:
    """Make the function that gives the means of all images' codes, and the mean KL of each latent."""

    def encode(params: PyTree, bits: Array) -> tuple[Array, Array]:
        each = lambda i: model.encode(params, packed.lookup(bits, i, (16, 16, 1)))  # noqa: E731
        mean, log_var = jax.lax.map(each, jnp.arange(sets.count(SIZES)), batch_size=1024)
        return mean, jnp.mean(standard_normal_kl(mean, log_var), 0)

    return jax.jit(encode)


def scoring(models: int, tables: PyTree, mesh: Any, names: tuple[str, ...] | None) -> GroupChain:
    """Compile the scores (those named; all if None) of a group of models, two devices at work."""

    def score(key: Key, tables: Array, model: Array) -> dict[str, Array]:
        code_of = metrics.lookup(tables[model.astype(jnp.int32)], SIZES)
        found = protocol.scores(code_of, SIZES, jax.random.key(2019))
        return {name: value for name, value in found.items() if names is None or name in names}

    shape = program.Shape(models, 1, 1, 1)
    built = program.build(measurement(score, tables), ["model"], tables, shape, mesh)
    runs = tuple(table.run({"model": i}, i) for i in range(models))
    return GroupChain(runs, built, shape, tables, mesh)


def training(models: int, steps: int, mesh: Any) -> GroupChain:
    """Compile training steps of the study's network as the sweep runs them, inside a scan."""
    net = vae.conv()
    images = (jax.random.uniform(jax.random.key(9), (BATCH, 64, 64, 1)) < 0.1).astype(jnp.float32)

    def make(beta: Array) -> program.Trainer:
        loss = objectives.beta_vae(net.encode, net.decode, beta)
        return trainer(net.init, loss, lambda data, key, t: data, optax.adam(1e-4))

    data, shape = meshes.place(mesh, images), program.Shape(models, 1, steps, steps)
    built = program.build(make, ["beta"], data, shape, mesh)
    return GroupChain(tuple(table.grid({"beta": [4]}, models)), built, shape, data, mesh)


class Trained:
    """Training that goes on from round to round."""

    def __init__(self, models: int, steps: int, mesh: Any) -> None:
        self.chain = training(models, steps, mesh)
        self.state = jax.block_until_ready(self.chain.start())
        self.amount = models * steps
        self.advance()

    def advance(self) -> Any:
        """Train all models for one chunk."""
        self.state = jax.block_until_ready(self.chain.advance(self.state, 0))
        return ()


def whole(options: argparse.Namespace) -> dict:
    """Score groups of models and train in turns; then UDR, and training of other widths and lengths."""
    clock, mesh = Clock(options.turns), meshes.over_runs()
    done, net = trained(options.work, options.models)
    params = done.map(lambda state, _: state.params)
    encode, bits, group = encoder(net), jnp.asarray(done.data), options.group
    one = lambda i: encode(jax.tree.map(lambda leaf: leaf[i], params), bits)  # noqa: E731
    jax.block_until_ready(one(0))
    empty = meshes.place(mesh, np.zeros((group, sets.count(SIZES), 10), np.float32))
    scores = scoring(group, empty, mesh, None)
    steps = Trained(options.models, options.steps, mesh)
    rounds, kept, found = [], [], []
    for first in range(0, options.models, group):
        codes: list = []
        encoding = clock.time(
            lambda codes=codes, first=first: codes.extend(one(first + i) for i in range(group)) or codes
        )
        tables = meshes.place(mesh, np.stack([np.asarray(mean) for mean, _ in codes]))
        kept += [(np.asarray(mean[:: len(mean) // 10_000][:10_000]), np.asarray(kl)) for mean, kl in codes]
        chain = dataclasses.replace(scores, data=tables)
        state = jax.block_until_ready(chain.start())
        ends: list = []
        with clock.turn():
            metric = clock.time(
                lambda chain=chain, state=state, ends=ends: ends.append(chain.advance(state, 0)) or ends
            )
            rounds.append({"metrics": metric, "training": clock.time(steps.advance), "encoding": encoding})
        found.append(meshes.to_host(ends[0].states.found))
        print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    agreement = udr(clock, kept)
    extra = linear(clock, options, mesh, steps)
    undefined = {name: int(sum(np.sum(~np.isfinite(part[name])) for part in found)) for name in found[0]}
    return summary(options, rounds, agreement) | {
        "compile_seconds": {"scores": scores.program.seconds, "training": steps.chain.program.seconds},
        "udr": agreement, "linear": extra, "rounds": rounds, "undefined_scores": undefined,
        "means": {name: float(np.mean([np.nanmean(part[name]) for part in found])) for name in found[0]},
    }  # fmt: skip


def summary(options: argparse.Namespace, rounds: list[dict], agreement: dict) -> dict:
    """Add up the rounds; training is scaled to the steps compared with."""
    scale = STEPS / options.steps / len(rounds)
    total = {}
    for kind in ("wall", "cpu"):
        metric = sum(each["metrics"][kind] for each in rounds) + agreement[kind]
        steps = sum(each["training"][kind] for each in rounds) * scale
        ratios = [each["training"][kind] * scale * len(rounds) / each["metrics"][kind] for each in rounds]
        each = [r * options.group / options.models for r in ratios]
        total[kind] = {
            "metrics": metric, "training": steps, "training / metrics": steps / metric,
            "by round": [min(each), max(each)],
        }  # fmt: skip
    return {"models": options.models, "group": options.group, "steps": STEPS, "steps_a_round": options.steps} | total


def udr(clock: Clock, kept: list[tuple[Numpy, Numpy]]) -> dict[str, float]:
    """Time UDR among all models, on codes of 10,000 images."""
    given = [jnp.asarray(np.stack(each)) for each in zip(*kept, strict=True)]
    started = time.perf_counter()
    run = jax.jit(lambda codes, kl: metrics.udr(codes, kl).score).lower(*given).compile()
    compiling = time.perf_counter() - started
    with clock.turn():
        return clock.time(lambda: run(*given)) | {"compile_seconds": compiling}


def linear(clock: Clock, options: argparse.Namespace, mesh: Any, steps: Trained) -> list[dict]:
    """Give seconds a seed-step for fewer models and for more steps."""
    few = Trained(options.models // 4, options.steps, mesh)
    more = Trained(options.models, 2 * options.steps, mesh)
    rows: list[dict] = []
    for each in (steps, few, more):
        with clock.turn():
            took = [clock.time(each.advance) for _ in range(2)]
        shape = each.chain.shape
        per = {kind: [t[kind] / each.amount for t in took] for kind in took[0]}
        rows.append({"models": shape.width, "steps": shape.chunk, "seconds a seed-step": per})
    return rows


def parts(options: argparse.Namespace) -> dict:
    """Time each metric alone, a model on each device, and all together."""
    clock, mesh = Clock(options.turns), meshes.over_runs()
    done, net = trained(options.work, options.models)
    params = done.map(lambda state, _: state.params)
    encode, count = encoder(net), len(jax.devices())
    first = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(count)]
    tables = meshes.place(mesh, np.stack([np.asarray(encode(each, jnp.asarray(done.data))[0]) for each in first]))
    rows = {}
    for name, scores in {**KINDS, "all": None}.items():
        chain = scoring(count, tables, mesh, scores)
        jax.block_until_ready(chain.advance(chain.start(), 0))
        states = [jax.block_until_ready(chain.start()) for _ in range(options.repeats)]
        with clock.turn():
            took = [clock.time(lambda s=s, chain=chain: chain.advance(s, 0)) for s in states]
        median = {f"{kind}_seconds_a_model": float(np.median([t[kind] for t in took])) / count for kind in took[0]}
        rows[name] = median | {"compile_seconds": chain.program.seconds}
        print(name, rows[name], file=sys.stderr, flush=True)
    return {"repeats": options.repeats, "models": count, "metrics": rows}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["whole", "parts"])
    parser.add_argument("--work", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--group", type=int, default=8, help="models scored in a round (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="training steps in a round (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each metric in `parts` (default: %(default)s)")
    parser.add_argument("--turns", action="store_true", help="wait for a line before each round")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="(default: %(default)s)")
    options = parser.parse_args()
    if options.models % options.group:
        parser.error(f"want --models to be a multiple of --group, got {options.models} and {options.group}")
    distributed.use_every_core()
    found = (whole if options.what == "whole" else parts)(options)
    head = {"date": provenance.now(), "device": device_name(), "versions": provenance.versions()}
    slug = "".join(c if c.isalnum() else "-" for c in device_name().lower()).strip("-")
    (options.out / f"vae_metrics_{options.what}--{slug}.json").write_text(json.dumps(head | found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

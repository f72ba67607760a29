"""Our side of `concepts_torch.py`: the models of the CEM paper, all seeds of one in a sweep, as rows of JSON.

    .venv/bin/python scripts/benchmarks/concepts_jax.py --seeds 20 --epochs 150 --out concepts-jax.json

`--bench MODEL` serves rounds of training on XOR for `scripts/bench` instead.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import jax
import numpy as np
from accelerators import accelerator
from worker import serve

from interp_jax.concepts import interventions, study
from interp_jax.concepts.model import ConceptModel, apply, with_levels
from interp_jax.concepts.training import Fitting
from interp_jax.core.types import Array
from interp_jax.data import concept_sets
from interp_jax.data.concept_sets import ConceptSplit
from interp_jax.runs import cache
from interp_jax.runs.distributed import use_every_core
from interp_jax.runs.progress import Quiet
from interp_jax.train import meshes, program, table
from interp_jax.train.groups import GroupChain
from interp_jax.train.sweep import sweep

SETS = ("xor", "dot", "trig")


def build(data: ConceptSplit, name: str) -> ConceptModel:
    """Make a model for a data set."""
    return study.build(name, data.train.inputs.shape[1], data.train.concepts.shape[1])


def measure(model: ConceptModel, state: Fitting, data: ConceptSplit) -> dict[str, Array]:
    """Give accuracies on the test examples: task and concepts, with known concepts, with all of them wrong."""
    params, test = state.params, data.test
    task = jax.vmap(lambda x: apply(model, params, x).task[0])(test.inputs)
    told = model
    if model.levels.low != 0:
        told = with_levels(model, interventions.training_levels(model, params, data.train.inputs))
    every = np.ones((1, model.concepts), bool)
    return {
        "task": ((task > 0) == (test.labels == 1)).mean(),
        "task_logit_above_half": ((task > 0.5) == (test.labels == 1)).mean(),
        "concepts": interventions.concept_accuracy(model, params, test),
        "curve": interventions.curve(told, params, test),
        "wrong": interventions.accuracies(told, params, test, every, expert=interventions.wrong())[0],
    }


def rows(name: str, data_name: str, seeds: range, epochs: int) -> list[dict]:
    """Train and measure one model on one data set from all seeds."""
    data = concept_sets.reference_split(data_name)
    model = build(data, name)
    runs = table.grid({"lr": [study.LR]}, seeds)
    done = sweep(study.method(name, model), runs, data.train, steps=epochs, chunk=epochs, progress=Quiet())
    if done.diverged:
        raise SystemExit(f"concepts_jax: {name} on {data_name} diverged in {[*done.diverged]}")
    found = done.map(lambda state, data: measure(model, state, data), data)
    return [
        {"data": data_name, "model": name, "seed": run.seed} | {key: value[i].tolist() for key, value in found.items()}
        for i, run in enumerate(done.runs)
    ]


def bench(name: str, seeds: int, epochs: int, batch: int) -> None:
    """Serve rounds of `seeds` times `epochs` epochs on XOR: one chunk of a sweep."""

    def setup():  # noqa: ANN202
        data = concept_sets.reference_split("xor")
        mesh = meshes.over_runs(min(len(jax.devices()), seeds // batch))
        placed = meshes.place(mesh, data.train)
        shape = program.Shape(seeds, batch, epochs, epochs)
        built = program.build(study.method(name, build(data, name)), ["lr"], placed, shape, mesh)
        chain = GroupChain(tuple(table.grid({"lr": [study.LR]}, seeds)), built, shape, placed, mesh)
        state = [chain.start()]

        def work() -> int:
            state[0] = jax.block_until_ready(chain.advance(state[0], 0))
            return seeds * epochs

        facts = {"compile_seconds": built.seconds, "program_bytes": built.bytes, "devices": mesh.devices.size}
        return work, facts | {"versions": {"jax": jax.__version__}, "device": accelerator()}

    serve(setup)


def main() -> None:
    """Read the command line, and write rows or serve rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--data", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--models", nargs="*", default=study.NAMES, choices=study.NAMES)
    parser.add_argument("--out", type=Path, default=Path("concepts-jax.json"))
    parser.add_argument("--bench", choices=study.NAMES)
    parser.add_argument("--batch", type=int, default=1, help="seeds that a device vectorises together, for --bench")
    options = parser.parse_args()
    use_every_core()
    if options.bench:
        bench(options.bench, options.seeds, options.epochs, options.batch)
        return
    cache.enable()
    started, found = time.perf_counter(), []
    for data, model in itertools.product(options.data, options.models):
        found += rows(model, data, range(options.first, options.first + options.seeds), options.epochs)
        shown = [
            f"{name} {np.mean([row[name] for row in found[-options.seeds :]]):.4f}" for name in ("task", "concepts")
        ]
        print(f"{time.perf_counter() - started:5.0f} s", data, model, *shown, flush=True)
        facts = {"epochs": options.epochs, "jax": jax.__version__, "seconds": time.perf_counter() - started}
        options.out.write_text(json.dumps(facts | {"rows": found}) + "\n")


if __name__ == "__main__":
    main()

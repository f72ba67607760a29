"""The peer of `interp_jax.concepts`: the models of the CEM paper in a lean PyTorch loop, from paper and notes.

Written from Espinosa Zarlenga et al. 2022 (section 3, appendix A.3) and from what its code is known to do where the
paper is silent: one mask of RandInt a batch, batches of 256 in the data's own order with a short last one, Adam of rate
0.01 without decay, a rate lowered tenfold on plateaus of the last batch's training loss, hard concepts without a
gradient, and 5th and 95th percentiles of the training logits for interventions on logits. The data are drawn anew here
from NumPy's seed 42. Rows go to a JSON file, one a model, data set and seed:

    .peers/torch/bin/python scripts/benchmarks/concepts_torch.py --seeds 20 --epochs 150 --out concepts-torch.json

`--bench MODEL` serves rounds of training for `scripts/bench` instead.
"""

import argparse
import itertools
import json
import platform
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from worker import serve

BATCH, HIDDEN, SIZE, RATE = 256, 128, 128, 1e-2
SETS = ("xor", "dot", "trig")
MODELS = ("cem", "hybrid_sigmoid", "hybrid_logit", "cbm_logit", "cbm_sigmoid", "cbm_hard")
Data = tuple[Tensor, Tensor, Tensor]


# data: inputs `[N, d]`, concepts `[N, k]`, labels `[N]`


def make(name: str, legacy: np.random.RandomState, n: int) -> Data:
    """Draw the next n examples of NumPy's legacy generator."""
    if name == "xor":
        x = legacy.uniform(0, 1, (n, 2))
        c = x > 0.5
        y = c[:, 0] ^ c[:, 1]
    elif name == "trig":
        h = legacy.normal(0, 2, (n, 3))
        waves = [wave(h[:, i]) + h[:, i] for i in range(3) for wave in (np.sin, np.cos)]
        x = np.stack([*waves, (h**2).sum(1)], 1)
        c, y = h > 0, h.sum(1) > 1
    else:
        v = 2 * legacy.randn(n, 2)
        w = 2 * legacy.randn(n, 2)
        x = np.concatenate([v + w, v - w], 1)
        c, y = np.stack([v.sum(1) > 0, w.sum(1) < 0], 1), (v * w).sum(1) > 0
    return tuple(torch.tensor(np.asarray(part), dtype=torch.float32) for part in (x, c, y))


def split(name: str) -> tuple[Data, Data]:
    """Give the 2100 training and 600 test examples of seed 42."""
    legacy = np.random.RandomState(42)
    return make(name, legacy, 2100), make(name, legacy, 600)


# models: `forward(x, mask, said)` gives logits of the concepts and of the task; where mask, the head is told `said`


def encoder(inputs: int, outputs: int) -> nn.Sequential:
    """Make two hidden layers with leaky ReLUs and a linear one."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, outputs)
    )


class CEM(nn.Module):
    """A concept embedding model: for each concept a generator of two embeddings, for all one score."""

    levels = None

    def __init__(self, inputs: int, concepts: int) -> None:
        super().__init__()
        self.encoder = encoder(inputs, HIDDEN)
        self.generators = nn.ModuleList([nn.Linear(HIDDEN, 2 * SIZE) for _ in range(concepts)])
        self.score = nn.Linear(2 * SIZE, 1)
        self.head = nn.Linear(concepts * SIZE, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None, said: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give `[N, k]` and `[N]`."""
        hidden = self.encoder(x)
        pairs = torch.stack([F.leaky_relu(make(hidden)) for make in self.generators], 1)
        logits = self.score(pairs).squeeze(-1)
        p = torch.sigmoid(logits)
        if mask is not None:
            p = p * (1 - mask) + said * mask
        true, false = pairs.split(SIZE, -1)
        mixed = p.unsqueeze(-1) * true + (1 - p.unsqueeze(-1)) * false
        return logits, self.head(mixed.flatten(1)).squeeze(-1)


class Bottleneck(nn.Module):
    """A bottleneck or a hybrid. kind: sigmoid, logit or hard, what the head is told of the concepts."""

    def __init__(self, inputs: int, concepts: int, kind: str, hybrid: bool) -> None:
        super().__init__()
        extra = (SIZE - 1) * concepts if hybrid else 0
        self.concepts, self.kind, self.levels = concepts, kind, None
        self.encoder = encoder(inputs, concepts + extra)
        self.head = nn.Linear(concepts + extra, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None, said: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give `[N, k]` and `[N]`."""
        units = self.encoder(x)
        logits, others = units[:, : self.concepts], units[:, self.concepts :]
        told = logits if self.kind == "logit" else torch.sigmoid(logits)
        if mask is not None:
            if self.levels is not None:
                said = torch.where(said > 0.5, self.levels[1], self.levels[0])
            told = told * (1 - mask) + said * mask
        if self.kind == "hard":
            told = (told > 0.5).float()
        others = others if self.kind == "logit" else F.leaky_relu(others)
        return logits, self.head(torch.cat([told, others], 1)).squeeze(-1)


def build(name: str, inputs: int, concepts: int) -> nn.Module:
    """Make a model by its name."""
    if name == "cem":
        return CEM(inputs, concepts)
    family, kind = name.split("_")
    return Bottleneck(inputs, concepts, kind, family == "hybrid")


def trainer(net: nn.Module, data: Data, fused: bool) -> Callable[[], None]:
    """Make the function that trains for one epoch."""
    x, c, y = data
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=fused)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    chance = torch.full((c.shape[1],), 0.25)
    batches = [tuple(part[i : i + BATCH] for part in (x, c, y)) for i in range(0, len(x), BATCH)]

    def epoch() -> None:
        for inputs, concepts, labels in batches:
            mask = torch.bernoulli(chance).expand_as(concepts) if isinstance(net, CEM) else None
            logits, task = net(inputs, mask, concepts)
            loss = F.binary_cross_entropy(torch.sigmoid(logits), concepts)
            loss = loss + F.binary_cross_entropy_with_logits(task, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        plateau.step(loss.detach())

    return epoch


@torch.no_grad()
def measure(net: nn.Module, train: Data, test: Data) -> dict:
    """Give accuracies on the test examples: task and concepts, with known concepts, with all of them wrong."""
    x, c, y = test
    k = c.shape[1]
    logits, task = net(x)
    if getattr(net, "kind", None) == "logit":
        seen = net(train[0])[0].numpy()
        net.levels = torch.tensor(np.percentile(seen, [5, 95], axis=0), dtype=torch.float32)

    def share(members: tuple[int, ...], said: Tensor) -> float:
        mask = torch.zeros(k)
        mask[list(members)] = 1
        return float(((net(x, mask.expand_as(c), said)[1] > 0) == (y > 0.5)).float().mean())

    sets = [list(itertools.combinations(range(k), size)) for size in range(k + 1)]
    return {
        "task": float(((task > 0) == (y > 0.5)).float().mean()),
        "task_logit_above_half": float(((task > 0.5) == (y > 0.5)).float().mean()),
        "concepts": float(((logits > 0) == (c > 0.5)).float().mean()),
        "curve": [float(np.mean([share(members, c) for members in some])) for some in sets],
        "wrong": share(tuple(range(k)), 1 - c),
    }


def run(job: tuple[str, str, int, int]) -> dict:
    """Train and measure one model on one data set from one seed."""
    data, model, seed, epochs = job
    torch.set_num_threads(1)
    train, test = split(data)
    torch.manual_seed(seed)
    net = build(model, train[0].shape[1], train[1].shape[1])
    epoch = trainer(net, train, fused=True)
    for _ in range(epochs):
        epoch()
    return {"data": data, "model": model, "seed": seed} | measure(net, train, test)


def bench(model: str, seeds: int, epochs: int, processes: int, fused: bool) -> None:
    """Serve rounds of `seeds` times `epochs` epochs on XOR, the seeds one after another in each of the processes."""

    def make() -> tuple[Callable[[], int], dict]:
        facts = {"versions": {"torch": torch.__version__, "python": platform.python_version()}}
        facts |= {"processes": processes, "threads": torch.get_num_threads(), "fused": fused}
        if processes == 1:
            return worker(model, seeds, epochs, fused), facts
        context = get_context("spawn")
        pipes = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            context.Process(target=child, args=(theirs, model, seeds // processes, epochs, fused), daemon=True).start()
            pipes.append(ours)

        def work() -> int:
            for pipe in pipes:
                pipe.send("go")
            return sum(pipe.recv() for pipe in pipes)

        return work, facts

    serve(make)


def child(pipe: object, model: str, seeds: int, epochs: int, fused: bool) -> None:
    """Work in a process of its own on one thread whenever the pipe says so."""
    torch.set_num_threads(1)
    work = worker(model, seeds, epochs, fused)
    while pipe.recv():
        pipe.send(work())


def worker(model: str, seeds: int, epochs: int, fused: bool) -> Callable[[], int]:
    """Make one round of work."""
    train, _ = split("xor")
    runs = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        runs.append(trainer(build(model, 2, 2), train, fused))

    def work() -> int:
        for epoch in runs:
            for _ in range(epochs):
                epoch()
        return seeds * epochs

    return work


def main() -> None:
    """Read the command line, and write rows or serve rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--data", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--out", type=Path, default=Path("concepts-torch.json"))
    parser.add_argument("--bench", choices=MODELS)
    parser.add_argument("--unfused", action="store_true", help="Adam as `torch.optim.Adam` is by default, for --bench")
    options = parser.parse_args()
    if options.bench:
        bench(options.bench, options.seeds, options.epochs, options.processes, not options.unfused)
        return
    seeds = range(options.first, options.first + options.seeds)
    jobs = list(itertools.product(options.data, options.models, seeds, [options.epochs]))
    jobs.sort(key=lambda job: job[2])
    started, rows = time.perf_counter(), []
    with get_context("spawn").Pool(options.processes) as pool:
        for row in pool.imap(run, jobs):
            rows.append(row)
            shown = f"{row['task']:.4f} {row['concepts']:.4f}"
            print(f"{time.perf_counter() - started:5.0f} s", row["data"], row["model"], row["seed"], shown, flush=True)
            facts = {"epochs": options.epochs, "torch": torch.__version__}
            options.out.write_text(json.dumps(facts | {"rows": rows}) + "\n")


if __name__ == "__main__":
    main()

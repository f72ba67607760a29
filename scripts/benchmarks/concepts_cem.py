"""The shipped models and trainer of the CEM paper, from the user's own clone, beside our construction of them.

    sh scripts/peers cem
    git clone https://github.com/mateoespinosa/cem .peers/cem/clone      (read at its state of March 2024)
    .peers/cem/bin/python scripts/benchmarks/concepts_cem.py --checkout .peers/cem/clone --out concepts-cem.json

trains the clone's modules in `concepts_torch.py`'s loop and writes rows that `concepts_agree.py` reads as a peer's.
`--bench MODEL` times the clone's own trainer (Lightning, with the metrics that it computes each step), as
`sh scripts/bench concepts_cem_shipped` asks; the argument `verbose` of its scheduler, gone from PyTorch, is dropped.
"""

import argparse
import importlib
import itertools
import json
import logging
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import concepts_torch as lean
import numpy as np
import torch
from torch import Tensor, nn
from worker import serve


def load(checkout: Path) -> tuple[ModuleType, ModuleType]:
    """Import the clone's modules of bottlenecks and of embedding models."""
    if not (checkout / "cem/models/cbm.py").exists():
        sys.exit(f"concepts_cem: want a clone with cem/models/cbm.py, got {checkout}")
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau

    class Quiet(plateau):
        def __init__(self, optimizer: torch.optim.Optimizer, verbose: bool = False, **options: object) -> None:
            super().__init__(optimizer, **options)

    torch.optim.lr_scheduler.ReduceLROnPlateau = Quiet
    sys.path.insert(0, str(checkout))
    return importlib.import_module("cem.models.cbm"), importlib.import_module("cem.models.cem")


def build(modules: tuple[ModuleType, ModuleType], name: str, inputs: int, concepts: int) -> nn.Module:
    """Make the clone's module with the settings of its experiments/configs/xor.yaml."""
    shared = {"n_concepts": concepts, "n_tasks": 1, "concept_loss_weight": 1, "optimizer": "adam"}
    shared |= {"learning_rate": lean.RATE, "weight_decay": 0}
    shared["c_extractor_arch"] = lambda output_dim=None: lean.encoder(inputs, output_dim or lean.HIDDEN)
    if name == "cem":
        return modules[1].ConceptEmbeddingModel(emb_size=lean.SIZE, training_intervention_prob=0.25, **shared)
    family, kind = name.split("_")
    return modules[0].ConceptBottleneckModel(
        extra_dims=(lean.SIZE - 1) * concepts if family == "hybrid" else 0,
        bool=kind == "hard",
        sigmoidal_prob=kind != "logit",
        sigmoidal_extra_capacity=False,
        bottleneck_nonlinear="leakyrelu",
        **shared,
    )


class Adapted(nn.Module):
    """The clone's module as `concepts_torch.measure` calls one."""

    def __init__(self, net: nn.Module, kind: str, concepts: int) -> None:
        super().__init__()
        self.net, self.kind, self.concepts, self.levels = net, kind, concepts, None

    def forward(self, x: Tensor, mask: Tensor | None = None, said: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give logits of concepts (of the model's probabilities, if it has nothing else), and of the task."""
        if self.levels is not None:
            self.net.inactive_intervention_values, self.net.active_intervention_values = self.levels
        known = None if mask is None else mask[:1].expand(len(x), -1).bool()
        sem, told, task = self.net(x, c=said, intervention_idxs=known)
        logits = told[:, : self.concepts] if self.kind == "logit" else torch.logit(sem)
        return logits, task.squeeze(-1)


def run(modules: tuple[ModuleType, ModuleType], data: str, model: str, seed: int, epochs: int) -> dict:
    """Train the clone's module by its own step in a plain loop, and measure it."""
    train, test = lean.split(data)
    x, c, y = train
    torch.manual_seed(seed)
    net = build(modules, model, x.shape[1], c.shape[1])
    made = net.configure_optimizers()
    optimizer, plateau = made["optimizer"], made["lr_scheduler"]
    for _ in range(epochs):
        for first in range(0, len(x), lean.BATCH):
            rows = slice(first, first + lean.BATCH)
            loss, _ = net._run_step((x[rows], y[rows], c[rows]), 0, train=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        plateau.step(loss.detach())
    net.eval()
    found = lean.measure(Adapted(net, model.split("_")[-1], c.shape[1]), train, test)
    return {"data": data, "model": model, "seed": seed} | found


def bench(modules: tuple[ModuleType, ModuleType], model: str, epochs: int) -> None:
    """Serve rounds of one seed's `epochs` epochs on XOR under the clone's trainer."""
    lightning = importlib.import_module("pytorch_lightning")
    stopping = importlib.import_module("pytorch_lightning.callbacks.early_stopping")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    (x, c, y), (xs, cs, ys) = lean.split("xor")
    loaders = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*parts), batch_size=lean.BATCH)
        for parts in ((x, y, c), (xs[:300], ys[:300], cs[:300]))
    ]

    def make() -> tuple[Callable[[], int], dict]:
        def work() -> int:
            torch.manual_seed(0)
            trainer = lightning.Trainer(
                accelerator="cpu", devices=1, max_epochs=epochs, check_val_every_n_epoch=30, logger=False,
                callbacks=[stopping.EarlyStopping(monitor="val_loss", patience=15)], enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            trainer.fit(build(modules, model, 2, 2), *loaders)
            return epochs

        versions = {"torch": torch.__version__, "lightning": lightning.__version__}
        return work, {"versions": versions | {"python": platform.python_version()}}

    serve(make)


def main() -> None:
    """Read the command line, and write rows or serve rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, required=True, help="the user's clone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--data", nargs="*", default=lean.SETS, choices=lean.SETS)
    parser.add_argument("--models", nargs="*", default=lean.MODELS, choices=lean.MODELS)
    parser.add_argument("--out", type=Path, default=Path("concepts-cem.json"))
    parser.add_argument("--bench", choices=lean.MODELS)
    options = parser.parse_args()
    modules = load(options.checkout)
    if options.bench:
        bench(modules, options.bench, options.epochs)
        return
    torch.set_num_threads(1)
    started, rows = time.perf_counter(), []
    for data, model, seed in itertools.product(options.data, options.models, range(options.seeds)):
        rows.append(run(modules, data, model, seed, options.epochs))
        print(f"{time.perf_counter() - started:5.0f} s", data, model, seed, f"{rows[-1]['task']:.4f}", flush=True)
        facts = {"epochs": options.epochs, "torch": torch.__version__, "numpy": np.__version__}
        options.out.write_text(json.dumps(facts | {"rows": rows}) + "\n")


if __name__ == "__main__":
    main()

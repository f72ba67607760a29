"""The peers' side of the strength comparison: AutoAttack as packaged, torchattacks and foolbox, on PyTorch on the CPU.

A process that answers each line of JSON on standard input with one on standard output.
"""

import importlib.metadata
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from strength_units import sizes, work
from torch import nn

BATCH = 1000


class ChannelsLast(nn.Module):
    """Put channels last, as the other framework has them before it flattens."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn `[N, C, H, W]` into `[N, H, W, C]`."""
        return x.permute(0, 2, 3, 1)


def network(architecture: str, weights: dict[str, np.ndarray]) -> nn.Module:
    """Build a network of `interp_jax.models` from its weights by path."""
    dense = [weights[f"Dense_{i}/kernel"].shape for i in range(sum(k.startswith("Dense") for k in weights) // 2)]
    linear = [nn.Linear(*shape) for shape in dense]
    tail = [layer for each in linear[:-1] for layer in (each, nn.ReLU())] + linear[-1:]
    if architecture == "mlp":
        layers = [nn.Flatten(), *tail]
    elif architecture == "cnn":
        pad = nn.ZeroPad2d((0, 1, 0, 1))  # "SAME" with stride 2 on an even size
        first, second = (weights[f"Conv_{i}/kernel"].shape for i in (0, 1))
        layers = [
            pad, nn.Conv2d(first[2], first[3], 3, 2), nn.ReLU(),
            pad, nn.Conv2d(second[2], second[3], 3, 2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), *tail,
        ]  # fmt: skip
    elif architecture == "wong-kolter":
        convs = nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()
        layers = [*convs, ChannelsLast(), nn.Flatten(), *tail]
    else:
        raise ValueError(f"want architecture mlp, cnn or wong-kolter, got {architecture!r}")
    net = nn.Sequential(*layers)
    fill(net, weights)
    return net.eval().requires_grad_(False)


def fill(net: nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Copy weights by path into the layers, in their order."""
    for kind, name, order in ((nn.Conv2d, "Conv", (3, 2, 0, 1)), (nn.Linear, "Dense", (1, 0))):
        for i, layer in enumerate(layer for layer in net.modules() if isinstance(layer, kind)):
            kernel = torch.as_tensor(weights[f"{name}_{i}/kernel"]).permute(order)
            with torch.no_grad():
                layer.weight.copy_(kernel)
                layer.bias.copy_(torch.as_tensor(weights[f"{name}_{i}/bias"]))


def suite(net: nn.Module, job: dict, xs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Run AutoAttack's standard version, or one attack with the settings that it has there."""
    from pyautoattack import AutoAttack

    norm = {"linf": "Linf", "l2": "L2"}[job["norm"]]
    attacks = AutoAttack(net, norm=norm, eps=job["eps"], seed=job["seed"], version="standard", device="cpu")
    if job["attack"] != "standard":
        attacks.attacks_to_run = [job["attack"]]
    return attacks.run_standard_evaluation(xs, labels, batch_size=BATCH)[0]


def by_torchattacks(net: nn.Module, job: dict, xs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Run its PGD. classes: labels, or targets."""
    import torchattacks

    make = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[job["norm"]]
    attack = make(
        net, eps=job["eps"], alpha=job["step_size"], steps=job["steps"], random_start=job["attack"] != "pgd-plain"
    )
    if job["attack"] == "pgd-targeted":
        attack.set_mode_targeted_by_label(quiet=True)
    return torch.cat([attack(x, y) for x, y in zip(xs.split(BATCH), classes.split(BATCH), strict=True)])


def by_foolbox(net: nn.Module, job: dict, xs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Run its PGD. classes: labels, or targets."""
    import foolbox

    make = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[job["norm"]]
    attack = make(abs_stepsize=job["step_size"], steps=job["steps"], random_start=job["attack"] != "pgd-plain")
    targeted = job["attack"] == "pgd-targeted"
    criterion = foolbox.criteria.TargetedMisclassification if targeted else foolbox.criteria.Misclassification
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    pairs = zip(xs.split(BATCH), classes.split(BATCH), strict=True)
    return torch.cat([attack.run(model, x, criterion(y), epsilon=job["eps"]) for x, y in pairs])


SIDES = {"autoattack": suite, "torchattacks": by_torchattacks, "foolbox": by_foolbox}


def lead(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Give the logit of a class less the largest other, `[N]`."""
    own = logits.gather(1, classes[:, None])[:, 0]
    return own - logits.scatter(1, classes[:, None], -torch.inf).amax(1)


def attack(job: dict, net: nn.Module, xs: torch.Tensor, labels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Run one unit: the margins and sizes of what the peer gives back."""
    torch.manual_seed(job["seed"])
    with torch.no_grad():
        runner_up = net(xs).scatter(1, labels[:, None], -torch.inf).argmax(1)
    targeted = job["attack"] == "pgd-targeted"
    found = SIDES[job["side"]](net, job, xs, runner_up if targeted else labels).detach()
    with torch.no_grad():
        margin = lead(net(found), runner_up) if targeted else -lead(net(found), labels)
    if not (found.min() >= 0 and found.max() <= 1):
        raise ValueError(f"{job['side']} left the bounds: {found.min()} to {found.max()}")
    return margin.numpy(), sizes((found - xs).numpy(), job["norm"])


def answer(job: dict, xs: torch.Tensor, labels: torch.Tensor) -> dict:
    """Do what a line asks for: an attack's unit, or the logits of a network."""
    with np.load(job["weights"], allow_pickle=False) as weights:
        net = network(job["architecture"], dict(weights))
    if "logits" in job:
        with torch.no_grad():
            np.save(job["logits"], net(xs).numpy())
    else:
        rows = slice(job["start"], job["stop"])
        work(Path(job["to"]), lambda: attack(job, net, xs[rows], labels[rows]))
    return {"done": True}


def main() -> None:
    """Serve lines until the input ends. Arguments: the images' file and the number of threads."""
    torch.set_num_threads(int(sys.argv[2]))
    warnings.filterwarnings("ignore")
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    names = ("torch", "pyautoattack", "torchattacks", "foolbox")
    versions = {name: importlib.metadata.version(name) for name in names}
    with np.load(sys.argv[1], allow_pickle=False) as data:
        xs = torch.as_tensor(data["images"]).permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(data["labels"]).long()
    say = sys.stdout
    sys.stdout = sys.stderr  # the peers print
    print(json.dumps({"versions": versions}), file=say, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), xs, labels)), file=say, flush=True)


if __name__ == "__main__":
    main()

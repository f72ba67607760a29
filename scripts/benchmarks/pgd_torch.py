"""A peer of the PGD benchmark: torchattacks on the Wong-Kolter network in PyTorch."""

import platform
from collections.abc import Callable

import torch
import torchattacks
from torch import nn
from worker import serve

BATCH, STEPS, EPS = 256, 20, 0.1


def main() -> None:
    """Serve rounds of one attack on a batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def make() -> tuple[Callable[[], int], dict]:
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
        ).to(device).eval()  # fmt: skip
        xs = torch.rand(BATCH, 1, 28, 28, device=device)
        labels = net(xs).argmax(1)
        attack = torchattacks.PGD(net, eps=EPS, alpha=EPS / 4, steps=STEPS, random_start=True)

        def work() -> int:
            attack(xs, labels)
            if device == "cuda":
                torch.cuda.synchronize()
            return BATCH

        versions = {"torch": torch.__version__, "torchattacks": torchattacks.__version__}
        return work, {"versions": versions | {"python": platform.python_version()}, "on": device}

    serve(make)


if __name__ == "__main__":
    main()

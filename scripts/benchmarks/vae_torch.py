"""The peer of the VAE benchmark: the study's convolutional VAE in PyTorch eager, one seed after another."""

import argparse
import platform
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from worker import serve

BATCH, LATENTS = 64, 10


class VAE(nn.Module):
    """Locatello et al. 2019, table 1: 690,517 parameters at one channel and ten latents."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 64, 2, 2), nn.ReLU(), nn.Conv2d(64, 64, 2, 2), nn.ReLU(),
            nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(),
        )  # fmt: skip
        self.mean, self.log_var = nn.Linear(256, LATENTS), nn.Linear(256, LATENTS)
        self.dense = nn.Sequential(nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, 1024), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give logits, mean and log variance."""
        hidden = self.encoder(x)
        mean, log_var = self.mean(hidden), self.log_var(hidden)
        z = mean + torch.exp(log_var / 2) * torch.randn_like(mean)
        return self.decoder(self.dense(z).view(-1, 64, 4, 4)), mean, log_var


def stepper(seed: int, layout: torch.memory_format, device: str, beta: float = 4.0) -> Callable[[torch.Tensor], None]:
    """Make one seed's training step."""
    torch.manual_seed(seed)
    net = VAE().to(device, memory_format=layout)
    assert sum(p.numel() for p in net.parameters()) == 690_517
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def step(images: torch.Tensor) -> None:
        logits, mean, log_var = net(images)
        reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
        optimizer.zero_grad(set_to_none=True)
        (reconstruction + beta * kl).backward()
        optimizer.step()

    return step


def main() -> None:
    """Serve rounds of `seeds` times `steps` training steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="channels_last")
    options = parser.parse_args()
    layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def make() -> tuple[Callable[[], int], dict]:
        steps = [stepper(seed, layout, device) for seed in range(options.seeds)]
        images = (torch.rand(BATCH, 1, 64, 64) < 0.1).float().to(device, memory_format=layout)

        def work() -> int:
            for step in steps:
                for _ in range(options.steps):
                    step(images)
            if device == "cuda":
                torch.cuda.synchronize()
            return options.seeds * options.steps

        return work, {"versions": {"torch": torch.__version__, "python": platform.python_version()}, "on": device}

    serve(make)


if __name__ == "__main__":
    main()

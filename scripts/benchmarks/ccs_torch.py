"""The other side of the CCS benchmark: a lean PyTorch loop, one probe after another, as Burns et al. train them.

sh scripts/peers torch
"""

import argparse
import platform

import torch
from worker import serve


def main() -> None:
    """Serve rounds of training some of the probes; all are alike, so that the rate is that of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--probes", type=int, default=1, help="of a round (default: %(default)s)")
    parser.add_argument("--fused", action="store_true", help="AdamW as one operation")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sides = [torch.randn(options.pairs, options.width) for _ in range(2)]
    first, second = [side - side.mean(0) for side in sides]

    def round_() -> int:
        for _ in range(options.probes):
            probe = torch.nn.Sequential(torch.nn.Linear(options.width, 1), torch.nn.Sigmoid())
            optimizer = torch.optim.AdamW(probe.parameters(), lr=1e-3, weight_decay=0.01, fused=options.fused)
            for _ in range(options.epochs):
                p, q = probe(first), probe(second)
                loss = (torch.minimum(p, q) ** 2).mean() + ((p - (1 - q)) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return options.probes * options.epochs

    serve(lambda: (round_, {"versions": {"torch": torch.__version__, "python": platform.python_version()}}))


if __name__ == "__main__":
    main()

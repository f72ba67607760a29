"""Our side of the capture benchmark: the mean over tokens of all 7 states of MiniLM, of names and sentences.

`capture` writes them into a folder, with everything that `runs.capture` does for it; `memory` only computes them, by
`collect`. Needs the extra `language`, and MiniLM as a folder `minilm` where data lie, or its package.

    .venv/bin/python scripts/benchmarks/language_jax.py floor     # the arithmetic of a round
"""

import argparse
import json
import platform
import tempfile
from pathlib import Path

import jax
from accelerators import accelerator
from language_texts import texts
from worker import serve

from interp_jax.core.types import Array, PyTree
from interp_jax.data import text
from interp_jax.models import pretrained, transformer
from interp_jax.models.transformer import Config
from interp_jax.runs import cache, progress
from interp_jax.runs.capture import capture, collect


def floor(config: Config, lengths: list[int]) -> dict:
    """Count the operations of the matrix products, of tokens alone: no padding, no norms, no GELU, no softmax."""
    d, own = config.width, config.heads * config.size
    dense = 2 * (d * (own + 2 * config.groups * config.size) + own * d + 2 * d * config.hidden)
    layer = [n * dense + 4 * n * n * own for n in lengths]
    return {"texts": len(lengths), "tokens": sum(lengths), "gflop": config.layers * sum(layer) / 1e9}


def main() -> None:
    """Serve rounds of capturing the texts once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["capture", "memory", "floor"])
    parser.add_argument(
        "--every", type=int, default=2, help="take every so many of the 256 texts (default: %(default)s)"
    )
    parser.add_argument("--lengths", type=int, default=8)
    parser.add_argument("--group", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=1024)
    options = parser.parse_args()
    cache.enable()
    folder = pretrained.minilm()
    lm = pretrained.load(folder)
    rows = text.encode(text.tokenizer(folder), texts()[:: options.every], lm.config.window)
    work = floor(lm.config, [len(row) for row in rows])

    def features(params: PyTree, x: text.Text) -> dict[str, Array]:
        return {"mean": transformer.mean(lm.apply(params, x).states, x.mask)}

    def to_disk() -> int:
        with tempfile.TemporaryDirectory() as root:
            found = capture(
                features, lm.params, rows, Path(root) / "a", lengths=options.lengths, group=options.group,
                tokens=options.tokens, progress=progress.Quiet(),
            )  # fmt: skip
            assert found is not None
        return len(rows)

    def in_memory() -> int:
        found = collect(
            features, lm.params, rows, lengths=options.lengths, group=options.group, tokens=options.tokens
        )  # fmt: skip
        return len(found["mean"])

    if options.what == "floor":
        print(json.dumps(work))
        return
    facts = {"versions": {"jax": jax.__version__, "python": platform.python_version()}, "floor": work}
    serve(lambda: (in_memory if options.what == "memory" else to_disk, facts | {"device": accelerator()}))


if __name__ == "__main__":
    main()

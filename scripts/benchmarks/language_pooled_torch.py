"""A peer of the capture benchmark: the mean over tokens of all 7 states of MiniLM, by transformers and PyTorch eager.

Texts are sorted by length and each batch is padded to its longest text, as is usual; no program has to be compiled for
a length, so that nothing is lost to buckets. MiniLM must be a folder `minilm` where data lie, see `pretrained.minilm`.
"""

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from language_texts import texts
from worker import serve


def folder() -> Path:
    """Find MiniLM where our side looks first."""
    places = [os.environ.get("INTERP_JAX_DATA", ""), Path.home() / ".local" / "share" / "interp_jax"]
    return next(path for path in (Path(place) / "minilm" for place in places) if path.is_dir())


def main() -> None:
    """Serve rounds of computing the pooled states once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=2048, help="places of a batch, about")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def make() -> tuple[Callable[[], int], dict]:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder(), local_files_only=True)
        model = transformers.AutoModel.from_pretrained(folder(), local_files_only=True).eval()
        rows = sorted(tokenizer(texts()[:: options.every])["input_ids"], key=len)
        batches, start = [], 0
        while start < len(rows):
            stop = start + 1
            while stop < len(rows) and (stop + 1 - start) * len(rows[stop]) <= options.tokens:
                stop += 1
            padded = tokenizer.pad({"input_ids": rows[start:stop]}, return_tensors="pt")
            batches.append((padded["input_ids"], padded["attention_mask"]))
            start = stop

        def work() -> int:
            with torch.inference_mode():
                for ids, mask in batches:
                    states = torch.stack(model(ids, attention_mask=mask, output_hidden_states=True).hidden_states, 1)
                    weights = mask[:, None, :, None].to(states.dtype)
                    ((states * weights).sum(2) / weights.sum(2)).numpy()
            return len(rows)

        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        return work, {"versions": versions | {"python": platform.python_version()}, "batches": len(batches)}

    serve(make)


if __name__ == "__main__":
    main()

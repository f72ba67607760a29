"""Reference states of language models by transformers and PyTorch, for `tests/models/test_pretrained.py`.

    sh scripts/peers language
    .peers/language/bin/python scripts/benchmarks/language_torch.py MODEL OUT.npz [--count 256]

MODEL: a folder of config.json, safetensors and, unless it is a decoder of random weights, tokenizer.json. OUT.npz: ids
`[N, T]`, mask `[N, T]` and every state `[N, L + 1, T, D]` (transformers' `hidden_states`), of the first N texts of
`language_texts.py`, or of N rows of random ids where there is no tokeniser. It belongs outside the repository; the slow
tests look where INTERP_JAX_LANGUAGE_REFERENCE says, for NAME.npz beside a folder (or a link to one) NAME of each model.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent))
from language_texts import texts


def tokens(model: Path, count: int, config: transformers.PretrainedConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokenise the texts as the model's users do, or draw ids, of all lengths up to 24."""
    if not (model / "tokenizer.json").exists():
        top = min(config.max_position_embeddings, 24)
        lengths = torch.arange(count) % top + 1
        ids = torch.randint(config.vocab_size, (count, top), generator=torch.Generator().manual_seed(0))
        mask = (torch.arange(top)[None] < lengths[:, None]).long()
        return ids * mask, mask
    tokenizer = transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)
    found = tokenizer(texts(count), padding="longest", truncation=False, return_tensors="pt")
    return found["input_ids"], found["attention_mask"]


def main() -> None:
    """Read the command line, run the model, write the states."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    options = parser.parse_args()
    torch.set_num_threads(2)
    model = transformers.AutoModel.from_pretrained(
        options.model, local_files_only=True, attn_implementation="eager", dtype=getattr(torch, options.dtype)
    ).eval()
    ids, mask = tokens(options.model, options.count, model.config)
    with torch.inference_mode():
        parts = [
            torch.stack(model(i, attention_mask=m, output_hidden_states=True).hidden_states, 1)
            for i, m in zip(ids.split(32), mask.split(32), strict=True)
        ]
    states = torch.cat(parts).numpy()
    np.savez(options.out, texts=texts(options.count), ids=ids.numpy(), mask=mask.numpy(), states=states)
    print(f"{options.out}: {states.shape} {states.dtype}, transformers {transformers.__version__}, {torch.__version__}")


if __name__ == "__main__":
    main()

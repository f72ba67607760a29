"""What bfloat16 arithmetic with float32 parameters does to the losses: the same seeds trained in both, paired.

    .venv/bin/python scripts/benchmarks/vae_bfloat16.py --work DIR    # 8 seeds of four objectives, as JSON

Models are those of `experiments/vae_study.py quick` (16 x 16 pixels, an MLP; `--conv` takes the study's convolutions),
so ours is `vae_study.py --bfloat16` without its scores. The terms are of 2,000 images and one sample of the code each,
the same for all models; each model is evaluated in the arithmetic that it was trained in, and again in float32, which
leaves what training alone did. Reconstruction is weighed as in training (x (64 / size)^2). Also the error of the first
gradient, its norm over the gradient's: a rounding to 8 bits is 0.2% to 0.4%. A CPU emulates bfloat16, so seconds say
nothing here.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import vae_models
from harness import device_name

from interp_jax.core import keys
from interp_jax.core.information import standard_normal_kl
from interp_jax.core.intervals import Interval, paired, student
from interp_jax.core.types import Array, Numpy, PyTree
from interp_jax.data import packed
from interp_jax.runs import distributed, provenance
from interp_jax.vae import objectives, study

CASES = (("beta_vae", 1.0), ("beta_vae", 8.0), ("factor_vae", 10.0), ("beta_tc_vae", 4.0))
IMAGES = 2000
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


def terms(setting: vae_models.Setting, dtype: Any) -> Callable[[PyTree, Array], dict[str, Array]]:
    """Make the function that gives the ELBO's terms of one model, in nats, in this arithmetic."""
    given, shape = vae_models.training(setting, dtype), (setting.size, setting.size, 1)
    cost = given.likelihood()

    def evaluate(state: Any, data: Array) -> dict[str, Array]:
        key = keys.stream(jax.random.key(2019), "images")
        rows = jax.random.randint(key, (IMAGES,), 0, data.shape[0])
        noise = jax.random.split(keys.stream(key, "noise"), IMAGES)

        def one(pair: tuple[Array, Array]) -> tuple[Array, Array]:
            x = packed.lookup(data, pair[0], shape)
            mean, log_var = given.model.encode(state.params, x)
            z = objectives.reparameterise(mean, log_var, pair[1])
            return cost(given.model.decode(state.params, z), x), jnp.sum(standard_normal_kl(mean, log_var))

        reconstruction, kl = (jnp.mean(each) for each in jax.lax.map(one, (rows, noise), batch_size=200))
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -(reconstruction + kl)}

    return evaluate


def first_gradient(setting: vae_models.Setting, method: str, strength: float, seeds: int, data: Array) -> Numpy:
    """Give the relative error `[S]` of the first step's gradient of the VAE, read off Adam's first moment."""

    def moment(seed: Array, dtype: Any) -> Array:
        trainer = study.method(method, vae_models.training(setting, dtype))(strength)
        state, _ = trainer.step(trainer.init(jax.random.key(seed)), data, jnp.int32(0))
        return jax.flatten_util.ravel_pytree(optax.tree.get(state.optimizer, "mu"))[0]

    with jax.default_matmul_precision("highest"):
        exact, rough = (
            np.stack([np.asarray(one(jnp.uint32(seed)), np.float64) for seed in range(seeds)])
            for one in (jax.jit(lambda seed, dtype=dtype: moment(seed, dtype)) for dtype in DTYPES.values())
        )
    return np.linalg.norm(rough - exact, axis=1) / np.linalg.norm(exact, axis=1)


def compare(options: argparse.Namespace, method: str, strength: float, data: Array) -> dict:
    """Train one objective in both arithmetics, and compare."""
    setting = options.setting
    name = f"{method} {strength:g}"
    ends: dict[str, dict[str, Numpy]] = {}
    for kind, dtype in DTYPES.items():
        folder = options.work / f"{name.replace(' ', '-')}-{setting.size}-{'conv' if setting.conv else 'mlp'}-{kind}"
        done = vae_models.train(setting, method, (strength,), options.seeds, data, folder, dtype)
        if done.diverged:
            raise SystemExit(f"vae_bfloat16: {name} in {kind}: these runs diverged: {done.diverged}")
        ends[kind] = done.map(terms(setting, dtype))
        if dtype is not None:
            ends["bfloat16, evaluated in float32"] = done.map(terms(setting, None))
    exact = ends.pop("float32")
    found: dict[str, Any] = {
        "first_gradient_error": rounded(student(first_gradient(setting, method, strength, options.seeds, data)))
    }
    for term, values in exact.items():
        found[term] = {
            "float32_mean": round(float(values.mean()), 4),
            "float32_sd": round(float(values.std(ddof=1)), 4),
        }
        for kind, each in ends.items():
            found[term][f"{kind}, less float32"] = rounded(paired(each[term], values))
    return {name: found}


def rounded(interval: Interval) -> list[float]:
    """Give estimate, low, high."""
    return [round(float(x), 5) for x in (interval.estimate, interval.low, interval.high)]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--conv", action="store_true", help="the study's convolutions, at its learning rate x 10")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="(default: %(default)s)")
    options = parser.parse_args()
    distributed.use_every_core()
    lr = 1e-3 if options.conv else 2e-3
    chunk = next(c for c in range(min(options.steps, 500), 0, -1) if options.steps % c == 0)
    options.setting = vae_models.Setting(options.size, steps=options.steps, chunk=chunk, lr=lr, conv=options.conv)
    data = vae_models.bits(options.setting)
    found: dict[str, Any] = {}
    for method, strength in CASES:
        found |= compare(options, method, strength, data)
        print(json.dumps(found), flush=True)
    head = {
        "date": provenance.now(), "device": device_name(), "versions": provenance.versions(),
        "setting": options.setting._asdict(), "seeds": options.seeds, "images": IMAGES,
        "unit": "nats an image, reconstruction weighed as in training; [estimate, low, high], 95% over seeds, paired",
    }  # fmt: skip
    slug = "".join(c if c.isalnum() else "-" for c in device_name().lower()).strip("-")
    net = "conv" if options.conv else "mlp"
    name = f"vae_bfloat16-{net}-{options.size}--{slug}.json"
    (options.out / name).write_text(json.dumps(head | {"objectives": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

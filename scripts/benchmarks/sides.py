"""What is compared with what. The first side of each benchmark is ours; ratios are ours over the other's."""

from typing import NamedTuple


class Side(NamedTuple):
    """A process that serves rounds (`worker.py`). peer: the environment of `scripts/peers`, ours if None."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    unit: str = "seed-steps"
    peer: str | None = None


def _vae(seeds: int) -> list[Side]:
    """The study's convolutional VAE, batch 64: ours, `jax.lax`'s convolutions vmapped over all seeds, PyTorch eager."""
    count = ("--seeds", str(seeds))
    return [
        Side("ours", "vae_jax.py", count),
        Side("lax, vmapped", "vae_jax.py", (*count, "--lowering", "lax", "--batch", str(seeds), "--steps", "1")),
        Side("torch eager", "vae_torch.py", (*count,), peer="torch"),
        Side("torch eager, channels_last", "vae_torch.py", (*count, "--layout", "channels_last"), peer="torch"),
    ]


def _pgd() -> list[Side]:
    """PGD-20 in Linf on the Wong-Kolter network, 256 images: ours, 20 single gradients, torchattacks, foolbox."""
    return [
        Side("ours", "pgd_jax.py", unit="images"),
        Side("ours, 20 jitted gradients", "pgd_jax.py", ("--single",), "images"),
        Side("torchattacks", "pgd_torch.py", unit="images", peer="attacks"),
        Side("foolbox, jitted JAX model", "pgd_foolbox.py", unit="images", peer="attacks"),
    ]


def _ntk(model: str, count: int, methods: str) -> list[Side]:
    """The whole kernel of N examples with themselves: ours, `jax.jacrev`, and neural-tangents' ways by number."""
    names = {
        "ours": "ours", "jacrev": "jacrev and einsum", "nt1": "neural-tangents, Jacobian contraction",
        "nt3": "neural-tangents, structured",
    }  # fmt: skip
    return [
        Side(
            names[method],
            "ntk_jax.py",
            (model, str(count), method),
            "kernels",
            "kernels" if method[:2] == "nt" else None,
        )
        for method in methods.split()
    ]


def _language() -> list[Side]:
    """Every state of MiniLM, meaned over tokens, of 128 texts: ours in memory and to disk, PyTorch eager."""
    return [
        Side("ours, in memory", "language_jax.py", ("memory",), "texts"),
        Side("ours, to disk", "language_jax.py", ("capture",), "texts"),
        Side("torch eager", "language_pooled_torch.py", ("--tokens", "512"), "texts", peer="language"),
    ]


def _concepts(model: str, epochs: int) -> list[Side]:
    """One model of the CEM paper trained on XOR from ten seeds: ours, and a lean PyTorch loop in its ways."""
    size = ("--bench", model, "--seeds", "10", "--epochs", str(epochs))
    script, unit = "concepts_torch.py", "seed-epochs"
    return [
        Side("ours", "concepts_jax.py", size, unit),
        Side("ours, five seeds vmapped", "concepts_jax.py", (*size, "--batch", "5"), unit),
        Side("torch loop", script, (*size, "--unfused"), unit, "torch"),
        Side("torch loop, fused Adam", script, size, unit, "torch"),
        Side("torch loops, fused Adam, a process a core", script, (*size, "--processes", "2"), unit, "torch"),
    ]


def _shipped(model: str, epochs: int) -> list[Side]:
    """The same beside the trainer that the CEM paper's code ships, one seed after another, a round of 30 epochs."""
    shipped = ("--checkout", ".peers/cem/clone", "--bench", model, "--epochs", "30")
    ours = Side("ours", "concepts_jax.py", ("--bench", model, "--seeds", "10", "--epochs", str(epochs)), "seed-epochs")
    return [ours, Side("shipped trainer", "concepts_cem.py", shipped, "seed-epochs", "cem")]


def _ccs() -> list[Side]:
    """Linear CCS probes on 1,000 pairs of width 384: 7 layers x 10 restarts as one program, PyTorch one by one."""
    unit, script = "probe-epochs", "ccs_torch.py"
    return [
        Side("ours", "ccs_jax.py", unit=unit),
        Side("torch loop", script, unit=unit, peer="torch"),
        Side("torch loop, fused AdamW", script, ("--fused",), unit, "torch"),
    ]


def _probes() -> list[Side]:
    """Ridge, 7 layers, 20 penalties, 5 folds, 2 targets: ours, scikit-learn's loop, loops that share Gram matrices."""
    unit = "fits"
    return [
        Side("ours", "probes_jax.py", unit=unit),
        Side("ours, layers vmapped", "probes_jax.py", ("--vmap",), unit),
        Side("scikit-learn loop", "probes_sklearn.py", ("ridge",), unit),
        Side("numpy, shared Grams, float32", "probes_sklearn.py", ("grams32",), unit),
        Side("numpy, shared Grams, float64", "probes_sklearn.py", ("grams64",), unit),
    ]


BENCHMARKS: dict[str, list[Side]] = {
    "ccs": _ccs(),
    "concepts_cbm": _concepts("cbm_sigmoid", 10),
    "concepts_cbm_shipped": _shipped("cbm_sigmoid", 40),
    "concepts_cem_shipped": _shipped("cem", 10),
    "concepts_hybrid": _concepts("hybrid_sigmoid", 4),
    "concepts_cem": _concepts("cem", 2),
    "language": _language(),
    "ntk_fcn_50": _ntk("fcn", 50, "ours jacrev nt3"),
    "ntk_fcn_500": _ntk("fcn", 500, "ours nt3"),
    "ntk_cnn_64": _ntk("cnn", 64, "ours jacrev nt1 nt3"),
    "ntk_resnet_32": _ntk("resnet", 32, "ours jacrev nt1 nt3"),
    "ntk_transformer_16": _ntk("transformer", 16, "ours jacrev nt1"),
    "pgd": _pgd(),
    "probes": _probes(),
    "vae_1": _vae(1),
    "vae_4": _vae(4),
    "vae_8": _vae(8),
    "renderer": [
        Side("dSprites, drawn", "renderer_jax.py", ("dsprites",), "images"),
        Side("dSprites, looked up in the packed set", "renderer_jax.py", ("packed",), "images"),
        Side("Shapes3D-like, drawn", "renderer_jax.py", ("shapes3d",), "images"),
    ],
}

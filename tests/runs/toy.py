"""A toy chain whose state has every kind of leaf, and a small table of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.runs.chain import Steps

CONFIG = {"lr": 0.1, "model": {"width": 4, "name": "toy"}}
UNITS = 4


@partial(jax.jit, static_argnums=1)
def begin(seed=0, width=64):
    return {
        "w": jnp.arange(width, dtype=jnp.float32).reshape(4, -1) / width + seed,
        "half": jnp.full((3,), seed, jnp.bfloat16),
        "key": jax.random.split(jax.random.key(seed), 2),
        "count": jnp.zeros((), jnp.int32),
        "flags": (jnp.asarray([True, False]), None),
        "rows": jnp.full((UNITS,), jnp.nan),
        "empty": jnp.zeros((0, 3)),
    }


@jax.jit
def update(state, index):
    w = jnp.sin(state["w"] * 1.7 + jax.random.normal(jax.random.fold_in(state["key"][0], index), state["w"].shape))
    return state | {
        "w": w,
        "half": state["half"] + jnp.bfloat16(0.5),
        "key": jax.vmap(lambda k: jax.random.fold_in(k, index))(state["key"]),
        "count": state["count"] + 1,
        "flags": (~state["flags"][0], None),
        "rows": state["rows"].at[index].set(w.mean()),
    }


def chain(seed=0, units=UNITS, width=64, step=update):
    return Steps(f"group-{seed}", units, lambda: begin(seed, width), step, {"runs": [f"run-{seed}"]})


def after(seed, units, width=64):
    """Give the state after so many units, by the plain loop."""
    state = begin(seed, width)
    for index in range(units):
        state = update(state, index)
    return jax.block_until_ready(state)


def host(tree):
    """Give the leaves as numpy arrays, keys as their data."""
    return [
        np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(tree)
    ]


def same(one, other):
    """Say whether two states hold the same bits in the same structure."""
    return jax.tree.structure(one) == jax.tree.structure(other) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(host(one), host(other), strict=True)
    )

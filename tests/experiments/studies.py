"""A study's record of made-up rows, for the experiments that read one."""

import dataclasses

import numpy as np

from experiments import vae_study
from interp_jax.report import experiment
from interp_jax.runs import cli


def design(seeds):
    """Give the columns of 6 methods of 6 strengths."""
    names = [(f"m{i}", float(j), k) for i in range(6) for j in range(6) for k in range(seeds)]
    columns = {name: np.array([row[i] for row in names]) for i, name in enumerate(("method", "strength", "seed"))}
    return columns | {"diverged_at": np.full(len(names), -1)}


def write(root, rows, seeds):
    """Write the record of a study."""
    s = dataclasses.replace(vae_study.Settings(), seeds=seeds, out=root / "vae_study" / "quick")
    begun = experiment.begin(s, vae_study.PRESETS, title="Study", question="?", small=True)
    begun.write([], pictures=[], rows=rows, diverged={})


def call(script, root, *words):
    """Run a script's quick preset as its command line does."""
    cli.main(script.run, script.PRESETS, ["quick", "--out", str(root), *words], script.__name__.split(".")[-1])

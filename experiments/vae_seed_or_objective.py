"""How much of a disentanglement score is due to the method, to its strength, and to the seed?

    python experiments/vae_seed_or_objective.py quick     seconds, after vae_study.py quick with the same --out
    python experiments/vae_seed_or_objective.py full      after vae_study.py full

Locatello et al. (2019), section 5.3: "the choice of hyperparameters and the random seed seem to be substantially more
important than the choice of the objective"; by memory, the objective explains 37% of the variance of scores. Their
shares are of the sum of squares, which credits a factor for having levels: strengths nest in methods, and here the
variance is split into nested components (`core.variance`). The replicate is a seed: a seed is left out of all cells at
once (`core.bootstrap.pseudo_values`), so that methods and strengths count as those that they are and not as drawn ones.

The estimand is what the shares would be with seeds without number. Components may be below zero (methods that differ
less than their strengths would make them) and are not cut there: cut, a share is not smooth, and the interval of a
small one covered as little as 66%. Coverage in per cent of the nominal 95% intervals, shares of method, strength and
seed, normal scores (3,000 simulations, 1,000 for 50 seeds; tests/experiments/test_vae_seed_or_objective.py):

    methods x strengths, seeds      6 x 6, 3         6 x 6, 5         6 x 6, 10        6 x 6, 50        6 x 2, 8
    shares .3, .3, .4            94.9 96.4 97.5   95.2 96.4 96.6   94.8 95.9 96.7   94.5 94.9 94.5   94.9 95.2 95.9
           .05, .5, .45          95.1 96.8 97.5   95.3 96.5 96.9   94.8 96.3 96.8   95.0 95.3 95.1   94.7 95.4 95.7
           0, .3, .7             95.5 96.9 97.1   95.4 97.4 97.4   94.8 96.7 97.1   95.0 95.4 95.4   95.3 95.1 96.0
           0, 0, 1               96.8 98.3 98.4   97.7 98.9 99.0   98.1 98.9 99.0   98.9 98.4 99.2   98.6 97.8 98.6

Where the spread of seeds differed between cells, or half of a seed's variance was an effect that all cells share,
coverage was 90 to 99.
"""

import dataclasses
from typing import Any

import numpy as np

from interp_jax.core.bootstrap import pseudo_values
from interp_jax.core.intervals import student
from interp_jax.core.types import Numpy
from interp_jax.core.variance import nested_components
from interp_jax.report import experiment, figures, records, tables
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.vae.metrics import protocol

PARTS = ("method", "strength", "seed")


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings; the number of seeds is that of the study."""

    scores: tuple[str, ...] = ("beta_vae", "factor_vae", "mig", "dci", "modularity", "sap")
    """Which scores, on the means of codes: those of the paper, those of the study."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.scores if name not in protocol.SUPERVISED]:
            raise ValueError(f"want scores among {[*protocol.SUPERVISED]}, got {unknown[0]!r}")
        if not self.scores or len(set(self.scores)) < len(self.scores):
            raise ValueError(f"want different scores, one or more, got scores={self.scores}")


def shares(rows: dict[str, Numpy], scores: tuple[str, ...], index: Numpy) -> Numpy:
    """Give the shares of variance of each score, `[scores, 3]`, in these rows; below zero where a component is."""
    labels = rows["method"][index], rows["strength"][index]
    found = [nested_components(rows[name][index], *labels) for name in scores]
    parts = np.array([[each.objective.estimate, each.strength.estimate, each.seed.estimate] for each in found])
    return parts / parts.sum(1, keepdims=True)


def values(rows: dict[str, Numpy], scores: tuple[str, ...]) -> Numpy:
    """Give what each seed adds to the shares of each score, `[seeds, scores, 3]`."""
    index = np.arange(len(rows["seed"]))
    return pseudo_values(lambda some: shares(rows, scores, some), index, rows["seed"])


def claims(scope: str) -> dict[str, Claim]:
    """State what is tested, before the run."""
    common: dict[str, Any] = {
        "source": "Locatello et al. 2019, Challenging Common Assumptions, section 5.3",
        "unit": "seeds",
        "delta": 0.1,
        "direction": Direction.GREATER,
        "scope": scope,
    }
    return {
        "both": Claim(
            name="strength_and_seed_matter_more",
            statement="Strength and seed together matter more for disentanglement scores than the method.",
            estimand="share of variance of strength and seed minus that of the method, mean over scores",
            published="substantially more important; by memory .63 - .37, of sums of squares",
            **common,
        ),
        "seed": Claim(
            name="the_seed_alone_matters",
            statement="A large part of a score is due to the seed alone.",
            estimand="share of variance of the seed, mean over scores",
            published="by memory .41, of sums of squares",
            primary=False,
            **common,
        ),
        "strength": Claim(
            name="strength_matters_more_than_method",
            statement="The strength within a method matters more than the method.",
            estimand="share of variance of the strength minus that of the method, mean over scores",
            published="by memory .22 - .37, of sums of squares",
            primary=False,
            **common,
        ),
    }


def judge(found: Numpy, scope: str, lost: list[int]) -> list[Finding]:
    """Give every claim its interval over seeds. found: `values`."""
    method, strength, seed = np.moveaxis(found.mean(1), 1, 0)
    of = {"both": strength + seed - method, "seed": seed, "strength": strength - method}
    note = f"left out: seeds {lost}, with a model that diverged or an undefined score" if lost else ""
    return [finding(claim, student(of[name]), note=note) for name, claim in claims(scope).items()]


def picture(scores: tuple[str, ...], found: Numpy) -> records.Picture:
    """Draw the shares of every score with their intervals."""
    return records.Picture(
        "shares",
        figures.groups(
            {
                protocol.title(name): {part: found[:, i, k] for k, part in enumerate(PARTS)}
                for i, name in enumerate(scores)
            },
            title="What the variance of a score is due to", ylabel="share of variance",
        ),
        "Nested variance components of each score, as shares. A dot is what a seed adds (a pseudo-value of leaving it "
        "out), so dots may lie outside 0 and 1.",
        "For each score three points with intervals: the shares of method, strength and seed.",
    )  # fmt: skip


def run(s: Settings) -> None:
    """Read the study's rows, split the variance, judge, and write the record."""
    study = records.beside(s.out, "vae_study")
    config = study.manifest["config"]
    work = experiment.begin(
        dataclasses.replace(s, seeds=config["seeds"]), PRESETS, small=bool(study.manifest["small"]),
        title="Method, strength or seed",
        question="How much of a disentanglement score is due to the method, to its strength, and to the seed?",
    )  # fmt: skip
    scope = f"{config['data']}, {config['size']} x {config['size']} pixels, {config['steps']:,} steps, scores of means"
    rows, lost = tables.complete(study.rows or {}, s.scores)
    found = values(rows, s.scores)
    seeds = np.unique(rows["seed"])
    work.write(
        judge(found, scope, lost),
        pictures=[picture(s.scores, found)],
        rows={
            "score": np.tile(np.repeat(s.scores, len(PARTS)), len(seeds)),
            "part": np.tile(PARTS, len(s.scores) * len(seeds)),
            "seed": np.repeat(seeds, len(PARTS) * len(s.scores)),
            "value": found.ravel(),
        },
        diverged={},
    )


PRESETS = {"quick": Settings(), "medium": Settings(), "full": Settings()}

if __name__ == "__main__":
    cli.main(run, PRESETS)

"""Do models that are more disentangled need fewer labels, and have latents that are better concepts?

    python experiments/vae_sample_efficiency.py quick     seconds, after vae_probes.py quick with the same --out
    python experiments/vae_sample_efficiency.py full      after vae_probes.py full

Locatello et al. (2019), section 5.5, found no reliable relation of disentanglement with sample efficiency, the accuracy
with 100 labels over that with 10,000, of logistic regression and of boosted trees; van Steenkiste et al. (2019) found
that abstract reasoning takes fewer samples. Models that differ in disentanglement differ in what their codes say, too:
so correlations are partial, given the reconstruction. A dense probe with a ridge penalty, as a logistic regression with
one, sees no axes (`vae_probes.py`): what DCI tells of it, it tells by something else.

Spearman's partial correlations are over all models of the record; the replicate is a seed, left out of all methods and
strengths at once (`core.bootstrap.pseudo_values`).
"""

import dataclasses
from typing import Literal

import numpy as np

from interp_jax.core.bootstrap import pseudo_values
from interp_jax.core.correlation import rank_correlations
from interp_jax.core.intervals import student
from interp_jax.core.types import Numpy
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.vae.metrics import axes

STUDY = "Locatello et al. 2019, Challenging Common Assumptions, section 5.5"
REASONING = "van Steenkiste et al. 2019, Are Disentangled Representations Helpful for Abstract Visual Reasoning?"
SHIFT = "Dittadi et al. 2021, On the Transfer of Disentangled Representations in Realistic Settings"
AXES = "Eastwood and Williams 2018, A Framework for the Quantitative Evaluation of Disentangled Representations"
GIVEN = {
    "dense_efficiency": ("reconstruction",),
    "sparse_efficiency": ("reconstruction",),
    "single": ("dense", "reconstruction"),
    "resistance": ("dense", "reconstruction"),
}
"""Outcomes of a model, and what each correlation is given."""


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings; the number of seeds is that of the probes."""

    score: Literal["dci", "mig"] = "dci"
    """The measure of disentanglement."""


def outcomes(rows: dict[str, Numpy], few: int) -> dict[str, Numpy]:
    """Give one row a model, means over concepts, of codes on their own axes; few: how many labels count as few.

    dense, single: accuracy with most labels. dense_efficiency, sparse_efficiency: that with few over that with most.
    resistance: how much more often than not the single latent goes against a cue that went along in its lessons.
    """
    learned = np.isfinite(rows["reconstruction"]) & (rows["view"] == axes.VIEWS[0])
    names = np.stack([rows[name][learned].astype(str) for name in ("codes", "strength", "seed")], 1)
    _, first, model = np.unique(names, axis=0, return_index=True, return_inverse=True)
    found = {name: column[learned] for name, column in rows.items()}

    def mean(column: str, probe: str, labels: int, along: bool) -> Numpy:
        own = (found["probe"] == probe) & (found["labels"] == labels) & ((found["correlation"] > 0) == along)
        return np.bincount(model[own], found[column][own]) / np.bincount(model[own])

    most = found["labels"].max()
    accuracy = {name: mean("accuracy", name, most, False) for name in ("dense", "sparse", "single")}
    efficiency = {f"{name}_efficiency": mean("accuracy", name, few, False) / accuracy[name]
                  for name in ("dense", "sparse")}  # fmt: skip
    kept = {name: found[name][first] for name in ("codes", "strength", "seed", "dci", "mig", "reconstruction")}
    return kept | accuracy | efficiency | {"resistance": -mean("follows_cue", "single", most, True)}


def partial_correlation(columns: Numpy) -> float:
    """Give Spearman's correlation of the first two of `[n, K]` columns, given the others; NaN where it has none."""
    among = rank_correlations(columns, columns)
    if not np.isfinite(among).all() or np.linalg.matrix_rank(among) < len(among):
        return np.nan
    inverse = np.linalg.inv(among)
    return float(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))


def related(found: dict[str, Numpy], score: str) -> dict[str, Numpy]:
    """Give by outcome what each seed adds to its partial correlation with the score; not where it is undefined."""
    values = {}
    for outcome, given in GIVEN.items():
        columns = np.stack([found[name] for name in (score, outcome, *given)], 1)
        others = [partial_correlation(columns[found["seed"] != seed]) for seed in np.unique(found["seed"])]
        if len(others) > 1 and np.isfinite([partial_correlation(columns), *others]).all():
            values[outcome] = pseudo_values(partial_correlation, columns, found["seed"])
    return values


def claims(scope: str, score: str) -> dict[str, Claim]:
    """State what is tested, by outcome, before the run."""
    head = "partial rank correlation over models of"
    stated = {
        "dense_efficiency": (
            "saves_no_labels", "Disentanglement goes with no more sample efficiency of a dense probe.",
            f"{head} {score} with ridge's accuracy at few labels over that at most, given reconstruction",
            STUDY, "no reliable relation",
        ),
        "sparse_efficiency": (
            "saves_a_sparse_probe_labels", "Disentanglement goes with more sample efficiency of a sparse probe.",
            f"{head} {score} with the lasso's accuracy at few labels over that at most, given reconstruction",
            REASONING, "abstract reasoning takes fewer samples",
        ),
        "single": (
            "makes_concepts", "Disentanglement goes with single latents that are better concepts.",
            f"{head} {score} with the accuracy of the best single latent, given ridge's and reconstruction",
            AXES, "what completeness is to measure",
        ),
        "resistance": (
            "resists_cues", "Disentanglement goes with single latents that follow a second concept less.",
            f"{head} {score} with guesses against the cue less those that follow it, given ridge's accuracy and "
            "reconstruction", SHIFT, "disentanglement predicts performance out of distribution",
        ),
    }  # fmt: skip
    return {
        outcome: Claim(
            name=f"disentanglement_{name}", statement=statement, source=source, published=published,
            estimand=estimand, unit="seeds", delta=0.3, scope=scope, primary=outcome == "dense_efficiency",
            direction=Direction.EQUIVALENT if outcome == "dense_efficiency" else Direction.GREATER,
        )
        for outcome, (name, statement, estimand, source, published) in stated.items()
    }  # fmt: skip


def judge(found: dict[str, Numpy], score: str, scope: str) -> list[Finding]:
    """Give each claim its interval over seeds, and in its note the correlation that is given nothing."""
    values, findings = related(found, score), []
    for outcome, claim in claims(scope, score).items():
        if outcome not in values:
            findings.append(finding(claim, None, note="undefined: too few models or seeds, or all alike"))
            continue
        plain = partial_correlation(np.stack([found[score], found[outcome]], 1))
        findings.append(finding(claim, student(values[outcome]), note=f"given nothing, it is {plain:.2f}"))
    return findings


def pictures(found: dict[str, Numpy], score: str) -> list[records.Picture]:
    """Draw each outcome against disentanglement."""
    words = {
        "dense_efficiency": ("Labels that a dense probe needs", "accuracy with few / with most"),
        "sparse_efficiency": ("Labels that a sparse probe needs", "accuracy with few / with most"),
        "single": ("Single latents as concepts", "accuracy"),
        "resistance": ("Single latents against a second concept", "opposes less follows"),
    }
    by = {name: found["codes"] == name for name in dict.fromkeys(found["codes"])}
    x = {name: found[score][own] for name, own in by.items()}
    return [
        records.Picture(
            outcome,
            figures.scatter(
                x, {name: found[outcome][own] for name, own in by.items()}, xlabel=score.upper(), ylabel=label,
                title=title,
            ),
            "A point is a model, on its own axes; means over concepts.",
            f"A scatter of {outcome.replace('_', ' ')} against {score.upper()}, one colour a method.",
        )
        for outcome, (title, label) in words.items()
    ]  # fmt: skip


def run(s: Settings) -> None:
    """Read the rows of the probes, correlate, judge, and write the record."""
    probes = records.beside(s.out, "vae_probes")
    config = probes.manifest["config"]
    work = experiment.begin(
        dataclasses.replace(s, seeds=config["seeds"]), PRESETS, small=bool(probes.manifest["small"]),
        title="Disentanglement and sample efficiency",
        question="Do models that are more disentangled need fewer labels, and have latents that are better concepts?",
    )  # fmt: skip
    scope = f"{config['data']}, {config['size']} x {config['size']} pixels, {config['steps']:,} steps, "
    scope += f"{', '.join(config['methods'])}; {config['few']} labels are few, {config['labels'][-1]:,} most"
    found = outcomes(probes.rows or {}, config["few"])
    work.write(judge(found, s.score, scope), pictures=pictures(found, s.score), rows=found, diverged={})


PRESETS = {"quick": Settings(), "medium": Settings(), "full": Settings()}

if __name__ == "__main__":
    cli.main(run, PRESETS)

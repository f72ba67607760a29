"""Can scores without labels choose models that disentangle?

    python experiments/vae_unsupervised_selection.py quick     seconds, after vae_study.py quick with the same --out
    python experiments/vae_unsupervised_selection.py full      after vae_study.py full

Locatello et al. (2019), section 5.4: neither the terms of the loss nor the total correlation of the codes show a clear
pattern with disentanglement, so hyperparameters cannot be chosen without labels. That is a null claim, and tested as
one: the rank correlation lies within a band about zero. Duan et al. (2020) propose a score that should be able to, UDR:
how alike the latents of models are that differ by seed only. Scores are turned so that larger is thought better, and
correlated with each supervised score over the models of every method apart, which takes out differences between
methods; then averaged over methods and supervised scores. The replicate is a seed.
"""

import dataclasses

import numpy as np

from interp_jax.core.bootstrap import pseudo_values
from interp_jax.core.correlation import rank_correlations
from interp_jax.core.intervals import student
from interp_jax.core.types import Numpy
from interp_jax.report import experiment, figures, records, tables
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.vae.metrics import protocol

CHOOSERS = {
    "reconstruction": -1, "kl": 1, "elbo": 1, "total_correlation": -1, "total_correlation_sampled": -1,
    "wasserstein": -1, "mean_pairwise_information": -1, "udr": 1,
}  # fmt: skip
"""Scores without labels, and the sign that makes larger better."""
PAPERS = {
    "udr": "Duan et al. 2020, Unsupervised Model Selection for Variational Disentangled Representation Learning",
}
LOCATELLO = "Locatello et al. 2019, Challenging Common Assumptions, section 5.4"


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings; the number of seeds is that of the study."""

    scores: tuple[str, ...] = ("beta_vae", "factor_vae", "mig", "dci", "sap")
    """Supervised scores, on the means of codes, that a choice should be good by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.scores if name not in protocol.SUPERVISED]:
            raise ValueError(f"want scores among {[*protocol.SUPERVISED]}, got {unknown[0]!r}")
        if not self.scores or len(set(self.scores)) < len(self.scores):
            raise ValueError(f"want different scores, one or more, got scores={self.scores}")


def correlations(rows: dict[str, Numpy], scores: tuple[str, ...]) -> Numpy:
    """Give what each seed adds to the rank correlations within methods, their mean: `[seeds, choosers, scores]`."""
    chosen = np.stack([sign * rows[name] for name, sign in CHOOSERS.items()], 1)
    truth = np.stack([rows[name] for name in scores], 1)
    methods = np.unique(rows["method"])

    def within(index: Numpy) -> Numpy:
        of = rows["method"][index]
        parts = [index[of == method] for method in methods]
        return np.mean([rank_correlations(chosen[part], truth[part]) for part in parts], 0)

    return pseudo_values(within, np.arange(len(truth)), rows["seed"])


def claims(scope: str) -> dict[str, Claim]:
    """State what is tested, before the run, by chooser; ELBO first, which is primary."""
    stated = {}
    for name in ("elbo", *(name for name in CHOOSERS if name != "elbo")):
        words = protocol.title(name)
        useful = name in PAPERS
        stated[name] = Claim(
            name=f"{name}_chooses" if useful else f"{name}_does_not_choose",
            statement=f"Of a method's models, those with better {words} disentangle more."
            if useful
            else f"The {words} of a method's models does not tell which disentangle more.",
            source=PAPERS.get(name, LOCATELLO),
            estimand=f"Spearman correlation of {words}, turned so that larger is better, with supervised scores",
            unit="seeds",
            delta=0.2,
            direction=Direction.GREATER if useful else Direction.EQUIVALENT,
            scope=scope,
            published="correlated" if useful else "no clear pattern (figure)",
            primary=name == "elbo",
        )
    return stated


def judge(found: Numpy, scope: str, lost: list[int]) -> list[Finding]:
    """Give every claim its interval over seeds. found: `correlations`."""
    of = dict(zip(CHOOSERS, found.mean(2).T, strict=True))
    note = f"left out: seeds {lost}, with a model that diverged or an undefined score" if lost else ""
    return [finding(claim, student(of[name]), note=note) for name, claim in claims(scope).items()]


def picture(found: Numpy) -> records.Picture:
    """Draw the correlations of every chooser."""
    return records.Picture(
        "choosers",
        figures.groups(
            {protocol.title(name): {"mean over scores": of} for name, of in
             zip(CHOOSERS, found.mean(2).T, strict=True)},
            title="Scores without labels against disentanglement", ylabel="rank correlation within methods",
        ),
        "Larger is better by each score's own lights. A dot is what a seed adds (a pseudo-value of leaving it out).",
        "Points with intervals: the mean correlation of each unsupervised score with supervised ones.",
    )  # fmt: skip


def run(s: Settings) -> None:
    """Read the study's rows, correlate, judge, and write the record."""
    study = records.beside(s.out, "vae_study")
    config = study.manifest["config"]
    work = experiment.begin(
        dataclasses.replace(s, seeds=config["seeds"]), PRESETS, small=bool(study.manifest["small"]),
        title="Choosing models without labels",
        question="Can scores without labels choose models that disentangle?",
    )  # fmt: skip
    scope = f"{config['data']}, {config['size']} x {config['size']} pixels, {config['steps']:,} steps, scores of means"
    rows, lost = tables.complete(study.rows or {}, (*s.scores, *CHOOSERS))
    found = correlations(rows, s.scores)
    seeds, at = np.unique(rows["seed"]), np.indices(found.shape).reshape(3, -1)
    work.write(
        judge(found, scope, lost),
        pictures=[picture(found)],
        rows={
            "seed": seeds[at[0]],
            "chooser": np.array([*CHOOSERS])[at[1]],
            "score": np.array(s.scores)[at[2]],
            "value": found.ravel(),
        },
        diverged={},
    )


PRESETS = {"quick": Settings(), "medium": Settings(), "full": Settings()}

if __name__ == "__main__":
    cli.main(run, PRESETS)

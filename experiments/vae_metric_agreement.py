"""Do disentanglement scores agree on which models are better?

    python experiments/vae_metric_agreement.py quick     seconds, after vae_study.py quick with the same --out
    python experiments/vae_metric_agreement.py full      after vae_study.py full

Locatello et al. (2019), section 5.2: all scores but modularity seem to be correlated, how much differs between data
sets. Here: Spearman's correlation over all models of a study, for every pair of scores. The replicate is a seed, left
out of all methods and strengths at once (`core.bootstrap.pseudo_values`).
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

SOURCE = "Locatello et al. 2019, Challenging Common Assumptions, section 5.2"
ODD = "modularity"


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings; the number of seeds is that of the study."""

    scores: tuple[str, ...] = ("beta_vae", "factor_vae", "mig", "dci", "sap", ODD)
    """Which scores, on the means of codes: those of the paper, those of the study. modularity is among them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.scores if name not in protocol.SUPERVISED]:
            raise ValueError(f"want scores among {[*protocol.SUPERVISED]}, got {unknown[0]!r}")
        if len(set(self.scores)) < max(len(self.scores), 3) or ODD not in self.scores:
            raise ValueError(f"want three or more different scores with {ODD} among them, got scores={self.scores}")


def correlations(rows: dict[str, Numpy], scores: tuple[str, ...]) -> Numpy:
    """Give what each seed adds to the rank correlation of each pair of scores, `[seeds, K, K]`."""
    table = np.stack([rows[name] for name in scores], 1)
    return pseudo_values(lambda some: rank_correlations(some, some), table, rows["seed"])


def claims(scope: str) -> dict[str, Claim]:
    """State what is tested, before the run."""
    common = {"source": SOURCE, "unit": "seeds", "direction": Direction.GREATER, "scope": scope}
    return {
        "agree": Claim(
            name="scores_agree",
            statement="Disentanglement scores other than modularity are correlated over models.",
            estimand="mean Spearman correlation over pairs of scores without modularity",
            delta=0.3,
            published="correlated, mildly to strongly by data set (figure 2)",
            **common,
        ),
        "odd": Claim(
            name="modularity_agrees_less",
            statement="Modularity is correlated with the other scores less than they are with each other.",
            estimand="mean Spearman correlation without modularity minus that of modularity with the others",
            delta=0.1,
            published="all but modularity",
            primary=False,
            **common,
        ),
    }


def judge(found: Numpy, scores: tuple[str, ...], scope: str, lost: list[int]) -> list[Finding]:
    """Give both claims their intervals over seeds. found: `correlations`."""
    odd = np.array([name == ODD for name in scores])
    pairs = np.triu(np.ones(2 * [len(scores)], bool), 1)
    others = pairs & ~odd[:, None] & ~odd[None]
    alike, apart = found[:, others].mean(1), found[:, pairs & ~others].mean(1)
    note = f"left out: seeds {lost}, with a model that diverged or an undefined score" if lost else ""
    values = {"agree": alike, "odd": alike - apart}
    return [finding(claim, student(values[name]), note=note) for name, claim in claims(scope).items()]


def picture(found: Numpy, scores: tuple[str, ...]) -> records.Picture:
    """Draw the correlation of each score with each other one."""
    return records.Picture(
        "agreement",
        figures.matrix(
            found.mean(0), [protocol.title(name) for name in scores], title="Rank correlation of scores over models",
        ),
        "Spearman's correlation over all models of the study, free of the bias of order 1 / seeds.",
        "A square of correlations, one row and column a score.",
    )  # fmt: skip


def run(s: Settings) -> None:
    """Read the study's rows, correlate, judge, and write the record."""
    study = records.beside(s.out, "vae_study")
    config = study.manifest["config"]
    work = experiment.begin(
        dataclasses.replace(s, seeds=config["seeds"]), PRESETS, small=bool(study.manifest["small"]),
        title="Agreement of disentanglement scores",
        question="Do disentanglement scores agree on which models are better?",
    )  # fmt: skip
    scope = f"{config['data']}, {config['size']} x {config['size']} pixels, {config['steps']:,} steps, scores of means"
    rows, lost = tables.complete(study.rows or {}, s.scores)
    found = correlations(rows, s.scores)
    seeds, names = np.unique(rows["seed"]), np.array(s.scores)
    at = np.indices(found.shape).reshape(3, -1)
    work.write(
        judge(found, s.scores, scope, lost),
        pictures=[picture(found, s.scores)],
        rows={"seed": seeds[at[0]], "one": names[at[1]], "other": names[at[2]], "value": found.ravel()},
        diverged={},
    )


PRESETS = {"quick": Settings(), "medium": Settings(), "full": Settings()}

if __name__ == "__main__":
    cli.main(run, PRESETS)

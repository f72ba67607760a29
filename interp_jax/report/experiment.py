"""One run of an experiment's script, from its settings to its record."""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from interp_jax.core.types import Key, PyTree
from interp_jax.report import records
from interp_jax.report.claims import Finding
from interp_jax.runs import cli, events
from interp_jax.runs.provenance import device, now, revision, versions
from interp_jax.train import models


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A run that has begun. config: what defines it, its own settings. manifest: what is known of it before its end."""

    settings: cli.Settings
    config: dict[str, Any]
    manifest: dict[str, Any]
    began: float

    def waits(self, runs: int, wanted: int) -> bool:
        """Tell whether runs are left to other parts, and if so say what to do when they are done."""
        if runs < wanted:
            text = f"part {self.settings.part} is done: run without --part when all are, to measure and report"
            print(text, file=sys.stderr, flush=True)  # noqa: T201
        return runs < wanted

    def by_seed(self, find: Callable[[Key, PyTree], PyTree], data: PyTree) -> tuple[PyTree, dict[str, int]] | None:
        """Compute `find(key, data)` of each seed once; None, and what to do, while seeds are left to other parts.

        Gives what was found, `[seeds, ...]` in numpy, and the seeds in which something is not finite, for `write`.
        """
        s = self.settings
        done = models.by_seed(find, s.seeds, data, config=self.config, out=s.out / "runs" / "seeds", **s.driver())
        if self.waits(len(done.runs), s.seeds):
            return None
        return models.found(done), done.diverged

    def write(
        self,
        findings: Sequence[Finding],
        *,
        pictures: Sequence[records.Picture],
        rows: Mapping[str, object],
        diverged: Mapping[str, int],
    ) -> Path:
        """Write the record, see `records.write`; its time is that of all programs that worked on these runs.

        diverged: the runs that are masked, each with the step by which it was not finite.
        """
        done = {
            "wall_seconds": time.perf_counter() - self.began,
            "ended": now(),
            "finished": True,
            "seeds": list(range(self.settings.seeds)),
            "diverged": [f"{name} by step {step}" for name, step in diverged.items()],
        }
        manifest = self.manifest | done
        return records.write(self.settings.out, manifest=manifest, findings=findings, pictures=pictures, rows=rows)


def begin(
    s: cli.Settings, presets: Mapping[str, cli.Settings], *, title: str, question: str, small: bool
) -> Experiment:
    """Start the clock and the manifest (see `records.MANIFEST`) of a run whose output is `s.out`, `NAME/PRESET`.

    Args:
        s: its settings.
        presets: all that the script offers.
        title: of its section of the page.
        question: what it asks, one sentence.
        small: whether the page warns that the problem is a small one.
    """
    began = time.perf_counter() - events.worked(s.out / "runs")
    shared = {field.name for field in dataclasses.fields(cli.Settings)}
    config = {name: value for name, value in dataclasses.asdict(s).items() if name not in shared}
    manifest = {
        "experiment": s.out.parent.name,
        "preset": s.out.name,
        "config": config | {"seeds": s.seeds},
        "versions": versions(),
        "device": device(),
        "git_revision": revision(),
        "started": now(),
        "title": title,
        "question": question,
        "presets": list(presets),
        "small": small,
    }
    return Experiment(s, config, manifest, began)

"""The manifest of an experiment's record: what it was, and what made it."""

from collections.abc import Mapping, Sequence
from typing import Any

from interp_jax.runs.provenance import device, now, revision, versions


def begin(experiment: str, preset: str, config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Start a manifest (see `records.MANIFEST`): all but the result; `more` are its optional fields.

    >>> begin("vae_mean_vs_sampled", "quick", {"steps": 10})["finished"]
    False
    """
    return {
        "experiment": experiment,
        "preset": preset,
        "config": dict(config),
        "versions": versions(),
        "device": device(),
        "wall_seconds": 0.0,
        "git_revision": revision(),
        "started": now(),
        "ended": None,
        "finished": False,
        "seeds": [],
        "diverged": [],
        **more,
    }


def end(
    manifest: Mapping[str, Any], *, wall_seconds: float, seeds: Sequence[int], diverged: Sequence[Any]
) -> dict[str, Any]:
    """Complete a manifest. diverged: the runs that are masked, each as words or as a mapping that names it."""
    done = {"wall_seconds": wall_seconds, "seeds": list(seeds), "diverged": list(diverged)}
    return {**manifest, **done, "ended": now(), "finished": True}

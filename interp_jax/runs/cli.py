"""The command line that every experiment has: `python experiments/<name>.py quick|full [--seeds N] [--out DIR] ...`.

An experiment extends `Settings`, gives presets, and calls `main`:

    @dataclasses.dataclass(frozen=True)
    class VAE(cli.Settings):
        steps: int = 3000
        \"\"\"Training steps of each run.\"\"\"

    if __name__ == "__main__":
        cli.main(run, {"quick": VAE(), "full": VAE(seeds=50, steps=300_000)})
"""

import contextlib
import dataclasses
import functools
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import tyro

from interp_jax.core import checks
from interp_jax.runs import cache, distributed, events
from interp_jax.runs.checkpoint import line
from interp_jax.runs.driver import Interrupted
from interp_jax.runs.parts import Part
from interp_jax.runs.profile import Profile


@dataclasses.dataclass(frozen=True)
class Settings:
    """What every experiment can be told; an experiment's own settings extend it, with a default for each."""

    seeds: int = 4
    """How many seeds."""
    out: Path = Path("results")
    """Folder of results; this run's lie in its NAME/PRESET, and continue what is there."""
    part: str = "1/1"
    """Do share I of N of the runs, as I/N with 1 <= I <= N (job arrays)."""
    distributed: str = "off"
    """Several processes, one program: off, auto (variables of this package or of SLURM), or HOST:PORT,N,I."""
    profile: Path | None = None
    """Write a trace of a few units for a profiler into this folder."""
    log: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Also send metrics to these."""
    cache: bool = True
    """Keep compiled programs for the next start."""
    debug: bool = False
    """Show where an error comes from."""

    def __post_init__(self) -> None:
        checks.whole(1, seeds=self.seeds)
        Part.parse(self.part)

    @functools.cached_property
    def sinks(self) -> tuple[events.Sink, ...]:
        """Make the sinks that `log` names, once; none in other processes than the first."""
        make = {
            "tensorboard": lambda: events.tensorboard(self.out / "tensorboard"),
            "wandb": lambda: events.wandb(self.out.parent.name),
        }
        return tuple(make[name]() for name in self.log) if jax.process_index() == 0 else ()

    @property
    def own(self) -> Path:
        """Folder of what every task of a job array computes for itself, before its share of the runs."""
        part = Part.parse(self.part)
        return self.out / "runs" / (f"part-{part.index}-of-{part.count}" if part.count > 1 else "")

    def driver(self) -> dict[str, Any]:
        """Give what `sweep` and other drivers are told of this program: part, profile and sinks."""
        return {"part": Part.parse(self.part), "profile": Profile(self.profile), "sinks": self.sinks}


S = TypeVar("S", bound=Settings)
MISSING = 69
"""Exit code where a package or a file of data is missing: `sysexits.h`'s EX_UNAVAILABLE."""


def main(
    run: Callable[[S], object], presets: Mapping[str, S], words: Sequence[str] | None = None, name: str | None = None
) -> None:
    """Read the command line, prepare JAX, run, and end the program.

    `presets`: by name, the one for a newcomer first. `words`: the command line, by default the program's. `name`: the
    experiment's, by default the script's. Exit codes: 0 done; 1 an error of ours, said in one line (`--debug` shows
    where); MISSING for a package or a file that is not there, in one line too; 2 a command line that cannot be read;
    130 and 143 interrupted after a commit.
    """
    words = sys.argv[1:] if words is None else list(words)
    name = name or Path(sys.argv[0]).stem
    settings = read(presets, words, name)
    missing: tuple[type[Exception], ...] = ()
    try:
        if settings.cache:
            cache.enable()
        settings.out.mkdir(parents=True, exist_ok=True)
        distributed.use_every_core()
        distributed.initialize(settings.distributed)
        missing = (FileNotFoundError, ImportError)  # from here on it is what the experiment needs that is not there
        _ = settings.sinks  # what is not there is said before work begins
        run(settings)
    except Interrupted:
        _say(name, "stopped by a signal after a commit; run the same command to go on")
        raise
    except KeyboardInterrupt:
        _say(name, "stopped at once; run the same command to go on from the last commit")
        sys.exit(130)
    except (ValueError, OSError, ImportError) as error:
        if settings.debug:
            raise
        _say(name, f"error: {line(error)}")
        sys.exit(MISSING if isinstance(error, missing) else 1)


def read(presets: Mapping[str, S], words: Sequence[str], name: str) -> S:
    """Read a command line into settings; `out` is filled in.

    Raises:
        SystemExit: code 2 after one line that says what is wrong; 0 after `--help`.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            configs = {key: (_title(value, key), value) for key, value in presets.items()}
            settings = tyro.extras.overridable_config_cli(configs, args=list(words), prog=f"{name}.py")
    except SystemExit as end:
        if end.code == 2:
            _say(name, f"error: {_plain(said.getvalue())} (see {name}.py --help)")
        else:
            sys.stderr.write(said.getvalue())
        raise
    except ValueError as error:
        _say(name, f"error: {line(error)} (see {name}.py --help)")
        raise SystemExit(2) from None
    return dataclasses.replace(settings, out=settings.out / name / words[0])


def _title(settings: Settings, preset: str) -> str:
    return f"{settings.seeds} seeds: the preset {preset}"


def _plain(box: str) -> str:
    """Take the message out of what tyro draws, with borders or (to a terminal without UTF-8) without, and its hint."""
    rows = [row.strip("│ ") for row in box.splitlines() if not row.startswith(("╭", "╰"))]
    parts: list[list[str]] = [[]]
    for row in rows:
        if row and set(row) <= {"─", "-"}:
            parts.append([])
        elif row:
            parts[-1].append(row)
    parts = parts if "╭" in box else parts[1:]  # without borders the title comes first
    message = " ".join(parts[0]) if parts and parts[0] else " ".join(box.split())
    message = re.sub(r"^Error parsing [A-Z]\w*: ", "", message)  # the class of the settings says nothing to a user
    if not message.startswith("Unrecognized"):
        return message.rstrip(".")
    near = [row for part in parts for row in part if row.startswith(("--", "Available"))]
    hint = near[0].lower() if near and near[0][0] == "A" else f"perhaps {near[0].split()[0]}?" if near else ""
    return message + (f"; {hint}" if hint else "")


def _say(name: str, text: str) -> None:
    print(f"{name}: {text}", file=sys.stderr, flush=True)  # noqa: T201

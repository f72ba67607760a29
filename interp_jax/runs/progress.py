"""How far it is: a bar with the time left on a terminal, a plain line every ten seconds or so elsewhere."""

import sys
import time
from typing import Protocol

import jax


class Progress(Protocol):
    """What the driver tells; any object with these methods will do."""

    def begin(self, total: int) -> None:
        """Say how many units there are."""
        ...

    def skip(self, units: int) -> None:
        """Say that some units were found done."""
        ...

    def advance(self, note: str) -> None:
        """Say that one more unit is done."""
        ...

    def close(self) -> None:
        """Say that no more will come."""
        ...


class Quiet:
    """Says nothing."""

    def begin(self, total: int) -> None:
        """Do nothing."""

    def skip(self, units: int) -> None:
        """Do nothing."""

    def advance(self, note: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """A plain line on stderr at most every `every` seconds, and one at the end."""

    def __init__(self, every: float = 10.0) -> None:
        self.every, self.total, self.done, self.found = every, 0, 0, 0
        self.started = self.told = time.monotonic()

    def begin(self, total: int) -> None:
        """Note the count."""
        self.total, self.started, self.told = total, time.monotonic(), time.monotonic()

    def skip(self, units: int) -> None:
        """Count what was found done; say so if it is everything."""
        self.done += units
        self.found += units
        if units and self.done == self.total:
            self._say("found done")

    def advance(self, note: str) -> None:
        """Count one unit; say so now and then."""
        self.done += 1
        if time.monotonic() - self.told >= self.every or self.done == self.total:
            self._say(note)

    def close(self) -> None:
        """Nothing is open."""

    def _say(self, note: str) -> None:
        self.told = time.monotonic()
        passed = self.told - self.started
        here = self.done - self.found
        rest = f", {clock(passed)} so far, {clock(passed / here * (self.total - self.done))} left" if here else ""
        print(f"{self.done}/{self.total} units{rest}: {note}", file=sys.stderr, flush=True)  # noqa: T201


class Bar:
    """A bar by rich, with the time left, on stderr."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("", start=False)

    def begin(self, total: int) -> None:
        """Show the bar."""
        self.bar.update(self.task, total=total)
        self.bar.start_task(self.task)
        self.bar.start()

    def skip(self, units: int) -> None:
        """Move the bar, and keep what was found out of the estimate."""
        self.bar.update(self.task, advance=units)
        self.bar.reset(self.task, completed=round(self.bar.tasks[0].completed), total=self.bar.tasks[0].total)

    def advance(self, note: str) -> None:
        """Move the bar."""
        self.bar.update(self.task, advance=1, description=note)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.stop()


def auto() -> Progress:
    """Choose: nothing on other processes than the first, a bar on a terminal, else lines."""
    if jax.process_index() > 0:
        return Quiet()
    return Bar() if sys.stderr.isatty() else Lines()


def clock(seconds: float) -> str:
    """Write a duration for people.

    >>> clock(42.3), clock(754), clock(8100)
    ('42 s', '12 min 34 s', '2 h 15 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

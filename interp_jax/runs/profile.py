"""A trace of a few units for TensorBoard's or Perfetto's profiler: `--profile DIR`."""

from pathlib import Path
from types import TracebackType

import jax


class Profile:
    """Traces units `skip` .. `skip + units - 1` of those that this program does; the first compiles, so it is skipped.

    With `folder=None` it does nothing.
    """

    def __init__(self, folder: Path | None, *, skip: int = 1, units: int = 2) -> None:
        self.folder, self.skip, self.units, self.seen, self.on = folder, skip, units, 0, False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.on:
            jax.profiler.stop_trace()
            self.on = False

    def unit(self) -> None:
        """Say that a unit begins, and that the one before it is finished on the device."""
        if self.folder is None:
            return
        if self.seen == self.skip:
            jax.profiler.start_trace(str(self.folder))
            self.on = True
        elif self.seen == self.skip + self.units:
            self.__exit__(None, None, None)
        self.seen += 1

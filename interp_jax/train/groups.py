"""Groups of runs of one fixed width: which runs go together, how wide a group is, and a group as a chain of chunks."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from interp_jax.core.types import Array, PyTree
from interp_jax.train import meshes
from interp_jax.train.program import Group, Program, Shape
from interp_jax.train.table import Run


@dataclasses.dataclass(frozen=True)
class GroupChain:
    """One group as a chain for the driver: a unit advances all its runs by one chunk.

    runs: as many as the group is wide or fewer; the last one is repeated to fill it, and its copies are never reported.
    """

    runs: tuple[Run, ...]
    program: Program
    shape: Shape
    data: PyTree
    mesh: Mesh

    @property
    def name(self) -> str:
        """Name the group after its runs."""
        ids = "\n".join(run.id for run in self.runs)
        return f"group-{hashlib.sha256(ids.encode()).hexdigest()[:16]}"

    @property
    def length(self) -> int:
        """Give the number of chunks."""
        return self.shape.chunks

    def describe(self) -> dict:
        """Record the runs."""
        return {"runs": [run._asdict() for run in self.runs]}

    def arguments(self) -> tuple[dict[str, Array], Array]:
        """Give the hyperparameters `{name: [W]}` and seeds `[W]` on the mesh."""
        filled = [*self.runs, *[self.runs[-1]] * (self.shape.width - len(self.runs))]
        names = self.runs[0].hyperparameters
        hypers = {name: np.array([run.hyperparameters[name] for run in filled], np.float32) for name in names}
        seeds = np.array([run.seed for run in filled], np.uint32)
        return meshes.place(self.mesh, (hypers, seeds), meshes.by_run(self.mesh))

    def start(self) -> Group:
        """Initialise the runs."""
        return self.program.begin(*self.arguments())

    def advance(self, state: Group, index: int) -> Group:
        """Train all runs for chunk `index`."""
        unit = meshes.place(self.mesh, np.int32(index))
        return self.program.advance(state, self.arguments()[0], self.data, unit)

    def abstract(self) -> Group:
        """Give shapes, dtypes and shardings of the state."""
        return self.program.abstract


def pack(runs: Sequence[Run], width: int, recorded: Mapping[str, dict]) -> list[tuple[Run, ...]]:
    """Assign runs to groups: recorded groups stay as they are, and what they lack is packed anew in the table's order.

    So seeds can be added to a finished sweep without repeating any of it. A recorded group none of whose runs is wanted
    is left out.

    Args:
        runs: the table.
        width: the most runs in a group.
        recorded: what `GroupChain.describe` gave, by the group's name.
    """
    wanted = {run.id for run in runs}
    groups = [tuple(Run(**run) for run in record["runs"]) for record in recorded.values()]
    groups = [group for group in groups if any(run.id in wanted for run in group)]
    present = {run.id for group in groups for run in group}
    missing = [run for run in runs if run.id not in present]
    return groups + [tuple(missing[i : i + width]) for i in range(0, len(missing), width)]


def even_width(runs: int, most: int, unit: int) -> int:
    """Choose a width: the fewest groups of at most `most` runs, then the least filling up, in multiples of `unit`.

    >>> even_width(48, 20, 2)
    16
    """
    groups = math.ceil(runs / max(most - most % unit, unit))
    return math.ceil(runs / groups / unit) * unit

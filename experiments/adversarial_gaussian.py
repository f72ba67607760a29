"""Do the theorems on robust likelihood of two Gaussians hold, constants included?

    python experiments/adversarial_gaussian.py quick     half a minute on two CPU cores: 5 dimensions, 32 seeds
    python experiments/adversarial_gaussian.py full      seven minutes there: 20 dimensions, 200 seeds, larger samples

Ilyas et al. (2019), section 4: with `x | y ~ N(y mean, covariance)`, the adversary's gain (Theorem 1), the parameters
of least robust loss (Theorem 2) and the least cosine between a classifier's gradient and the line between the classes
(Theorem 3) have closed forms. Here each is held against what gradients alone find, on random covariances: the gain of
an attack by gradient ascent on sampled examples, the minimum of the robust loss by descent, the least alignment by
descent over means. Theorem 1 as printed leaves the likelihood's 1/2 out: the factor of two is a claim of its own.

A run of the sweep is a seed, that is one random truth; its one step measures everything. Grids of matrices are walked
(`lax.map`): two large batches of LAPACK calls at once can lock each other out for good on a CPU (jaxlib before 0.11.2).
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.adversarial import gaussian
from interp_jax.adversarial.gaussian import Gaussian
from interp_jax.adversarial.norms import l2
from interp_jax.core import checks, keys
from interp_jax.core.correlation import slope
from interp_jax.core.intervals import student
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key, Numpy
from interp_jax.report import experiment, figures, records
from interp_jax.report.claims import Claim, Direction, Finding, finding
from interp_jax.runs import cli
from interp_jax.train import table
from interp_jax.train.sweep import sweep
from interp_jax.train.trainer import measurement

ASCENT = 50  # steps of the attack, each of which leaves at most 1 / margin of the distance to the maximum
SEARCH = 500  # steps of the descent over means
FLAT = 0.01  # the gradient above which a descent on the robust loss has found no minimum (float32 leaves 1e-4 or less)
PALE = "#aab2bb"
SOURCE = "Ilyas et al. 2019, Adversarial Examples Are Not Bugs, They Are Features, section 4, "


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """The experiment's settings. Variances average to one over the dimensions, which sets the unit of the radius."""

    seeds: int = 32
    """How many seeds, each a random truth."""
    dims: int = 5
    """Dimensions of an example."""
    condition: float = 100.0
    """Largest over least variance of the truth, but where `conditions` are compared."""
    lams: tuple[float, ...] = (0.1, 1, 10, 100)
    """Multipliers of the robust likelihoods (Theorem 2)."""
    samples: tuple[int, ...] = (100, 800, 6400)
    """Sizes of the samples that robust likelihoods are fitted to; all of the largest is attacked."""
    margins: tuple[float, ...] = (1.5, 2, 4, 8)
    """Multipliers of the attack (Theorem 1), in units of the least for which a maximum exists."""
    conditions: tuple[float, ...] = (3, 10, 30, 100, 300)
    """Condition numbers of ordinary likelihood (Theorem 3)."""
    radii: tuple[float, ...] = (0.03, 0.1, 0.3, 1, 3)
    """Root mean square of the perturbations that robust likelihood prepares for (Theorem 3)."""
    means: int = 200
    """Random means of a seed."""
    starts: int = 8
    """Descents in search of the least alignment, from the first of the random means."""
    steps: int = 80
    """Steps of L-BFGS for a robust likelihood."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(2, dims=self.dims)
        checks.whole(1, means=self.means, starts=self.starts, steps=self.steps)
        least = {"lams": 0, "samples": self.dims, "margins": 1.25, "conditions": 1, "radii": 0, "condition": 1}
        for name, low in least.items():
            values = np.atleast_1d(getattr(self, name))
            if not (values.size and np.isfinite(values).all() and values.min() > low):
                raise ValueError(f"want {name} above {low:g}, got {name}={getattr(self, name)}")
        for name in ("samples", "conditions"):
            if len(set(getattr(self, name))) < max(len(getattr(self, name)), 2):
                raise ValueError(f"want two or more different {name}, for a slope, got {name}={getattr(self, name)}")


class Frame(NamedTuple):
    """What makes a seed's covariances. axes: `[D, D]`. place: `[D]`, of each variance between the outermost, in log."""

    axes: Array
    place: Array

    @classmethod
    def draw(cls, key: Key, dims: int) -> "Frame":
        """Draw uniform axes, and places of which one is 0 and one is 1."""
        place = jax.random.uniform(keys.stream(key, "place"), (dims,)).at[:2].set(jnp.array([0.0, 1.0]))
        return cls(jax.random.orthogonal(keys.stream(key, "axes"), dims), place)

    def covariance(self, condition: ArrayLike) -> Array:
        """Give the covariance `[D, D]` of this condition number and mean variance 1."""
        values = jnp.asarray(condition, self.place.dtype) ** self.place
        return matmul(self.axes * (values / values.mean())[None, :], self.axes.T)


def attack(model: Gaussian, x: Array, y: Array, lam: Array) -> Array:
    """Ascend `NLL(x + d, y) - lam / 2 |d|^2` by its gradient, in steps of 1 / lam; give `x + d`."""
    pull = jax.grad(lambda d: gaussian.negative_log_likelihood(model, x + d, y))
    return x + jax.lax.fori_loop(0, ASCENT, lambda _, d: pull(d) / lam, jnp.zeros_like(x))


def theorem_1(s: Settings, truth: Gaussian, xs: Array, ys: Array) -> dict[str, Array]:
    """Attack examples of the truth; give the mean rise of the likelihood and both closed forms, each `[margins]`."""
    lams = jnp.array(s.margins, jnp.float32) / jnp.linalg.eigvalsh(truth.covariance)[0]
    loss = jax.vmap(partial(gaussian.negative_log_likelihood, truth))

    def rise(lam: Array) -> dict[str, Array]:
        moved = jax.vmap(lambda x, y: attack(truth, x, y, lam))(xs, ys)
        return {
            "rise": jnp.mean(loss(moved, ys) - loss(xs, ys)),
            "rise_closed": gaussian.vulnerability(truth.covariance, lam),
            "rise_printed": gaussian.vulnerability_as_printed(truth.covariance, lam),
        }

    return jax.vmap(rise)(lams)


def distance(found: Gaussian, closed: Gaussian) -> Array:
    """Give the root mean square, over entries of mean and covariance, of the difference where `closed` is white.

    So an error counts in units of the standard deviation along its own direction, also where that is small.
    """
    white = partial(jax.scipy.linalg.solve_triangular, jnp.linalg.cholesky(closed.covariance), lower=True)
    mean, covariance = white(found.mean - closed.mean), white(found.covariance - closed.covariance)
    return jnp.sqrt(jnp.sum(white(covariance.T) ** 2) + jnp.sum(mean**2)) / len(mean)


def theorem_2(s: Settings, truth: Gaussian, xs: Array, ys: Array) -> dict[str, Array]:
    """Minimise the robust loss of the truth and of samples; give how far the results lie from the closed form.

    difference: `[lams]`, from the truth's moments alone. sampled: `[lams, samples]`. Both NaN where the descent ended
    on a slope. ordinary: `[lams]`, of ordinary likelihood, for comparison.
    """
    samples = [gaussian.maximum_likelihood(xs[:n], ys[:n]) for n in s.samples]
    known = jax.tree.map(lambda *leaves: jnp.stack(leaves), truth, *samples)

    def gaps(lam: Array) -> dict[str, Array]:
        start = Gaussian(jnp.zeros(s.dims), (1 + 2 / lam) * jnp.eye(s.dims))
        closed = gaussian.robust_maximum_likelihood(truth, lam)

        def gap(known: Gaussian) -> Array:
            found, _, gradient = gaussian.minimise(known, lam, start, steps=s.steps)
            return jnp.where(gradient < FLAT, distance(found, closed), jnp.nan)

        apart = jax.lax.map(gap, known)
        return {"difference": apart[0], "sampled": apart[1:], "ordinary": distance(truth, closed)}

    return jax.lax.map(gaps, jnp.array(s.lams, jnp.float32))


def least_alignment(covariance: Array, starts: Array) -> Array:
    """Search the least alignment over means, of length 1, by gradient steps of falling length from `starts [N, D]`."""
    aligned = lambda mean: gaussian.alignment(Gaussian(mean, covariance))  # noqa: E731

    def step(mean: Array, size: Array) -> tuple[Array, None]:
        return l2.ascend(mean - size * l2.ascend(jax.grad(aligned)(mean))), None

    def descend(start: Array) -> Array:
        return aligned(jax.lax.scan(step, l2.ascend(start), jnp.geomspace(0.5, 1e-4, SEARCH))[0])

    return jax.vmap(descend)(starts).min()


def theorem_3(s: Settings, frame: Frame, key: Key) -> dict[str, Array]:
    """Measure alignment `[conditions]` under ordinary, and `[1 + radii]` under robust likelihood, the first ordinary.

    aligned: averages over random means. attained: at the mean that should be the worst. least: found by descent over
    means. bound: the closed form of the least.
    """
    conditions, radii = jnp.array(s.conditions, jnp.float32), jnp.array(s.radii, jnp.float32)
    truth = Gaussian(jnp.zeros(s.dims), frame.covariance(s.condition))

    def robust(radius: Array) -> Array:
        return gaussian.robust_maximum_likelihood(truth, gaussian.robust_multiplier(radius, truth)).covariance

    compared, robust_ones = jax.vmap(frame.covariance)(conditions), jax.vmap(robust)(radii)
    means = jax.random.normal(keys.stream(key, "means"), (s.means, s.dims))

    def one(covariance: Array) -> dict[str, Array]:
        at = jnp.concatenate([means, gaussian.worst_mean(covariance)[None]])
        aligned = jax.vmap(lambda mean: gaussian.alignment(Gaussian(mean, covariance)))(at)
        return {
            "aligned": aligned[:-1].mean(),
            "attained": aligned[-1],
            "least": jnp.minimum(least_alignment(covariance, means[: s.starts]), aligned[:-1].min()),
            "bound": gaussian.worst_alignment(covariance),
        }

    found = jax.lax.map(one, jnp.concatenate([compared, truth.covariance[None], robust_ones]))
    split = len(s.conditions)
    return {name: v[:split] for name, v in found.items()} | {f"robust_{name}": v[split:] for name, v in found.items()}


def measure(s: Settings, key: Key) -> dict[str, Array]:
    """Measure all three theorems on one seed's truth."""
    frame = Frame.draw(keys.stream(key, "frame"), s.dims)
    mean = jax.random.normal(keys.stream(key, "mean"), (s.dims,))
    truth = Gaussian(mean, frame.covariance(s.condition))
    xs, ys = jax.vmap(partial(gaussian.draw, truth))(jax.random.split(keys.stream(key, "sample"), max(s.samples)))
    return theorem_1(s, truth, xs, ys) | theorem_2(s, truth, xs, ys) | theorem_3(s, frame, key)


def claims(s: Settings) -> dict[str, Claim]:
    """State what is tested, before the run; by the name of the estimand."""
    above, equal, below = Direction.GREATER, Direction.EQUIVALENT, Direction.LESS
    stated = {
        "closed_form": (2, equal, 1e-3, "Descent on the robust loss, of the truth's moments alone, ends at the closed "
            "form of mean and covariance.",
            "relative difference from the closed form, largest over multipliers", "equal"),
        "samples_approach_it": (2, equal, 0.05, "Robust likelihood fitted to n examples approaches the closed form as "
            "1 / sqrt(n).",
            "slope of the log relative error in log n, plus 1/2", "stated of the population"),
        "excess": (1, equal, 0.02, "The adversary raises the expected ordinary likelihood (its 1/2 included) by 1/2 "
            "(tr[(I + (C S - I)^-1)^2] - d).",
            "rise under attack over this form, averaged over C, minus 1", "twice this, for the form without its 1/2"),
        "printed_form_is_double": (1, equal, 0.01, "The rise of the ordinary likelihood is half of the form that "
            "Theorem 1 prints.",
            "rise under attack over the printed form, averaged over C, minus 1/2", "the rise equals the printed form"),
        "condition": (3, below, 0.05, "The separator of ordinary likelihood turns away from the line between the "
            "classes as the condition number rises.",
            "slope of the cosine, averaged over random means, in log10 of the condition number", "falls"),
        "bound_is_attained": (3, equal, 1e-3, "The worst mean has the alignment 2 sqrt(k) / (1 + k).",
            "cosine at the worst mean minus the bound, the largest in size over covariances", "equal"),
        "bound_holds": (3, equal, 1e-3, "Descent over means ends at the bound 2 sqrt(k) / (1 + k), and no mean lies "
            "below it.",
            "least cosine found minus the bound, the largest in size over covariances", "never below"),
        "robust_worst_case": (3, above, 0.05, "Robust likelihood raises the least alignment over means.",
            "least cosine found, robust minus ordinary, averaged over radii", "raises it, towards 1"),
        "robust_random_means": (3, above, 0.05, "Robust likelihood raises alignment at random means too.",
            "cosine at random means, robust minus ordinary, averaged over radii", "not stated of the average"),
    }  # fmt: skip
    scope = f"{s.dims} dimensions, condition number {s.condition:g}, float32"
    return {
        name: Claim(
            name=name, statement=statement, source=f"{SOURCE}Theorem {theorem}", estimand=estimand, unit="seeds",
            delta=delta, direction=direction, scope=scope, published=published, primary=name == "closed_form",
        )
        for name, (theorem, direction, delta, statement, estimand, published) in stated.items()
    }  # fmt: skip


def estimands(s: Settings, found: dict[str, Numpy]) -> dict[str, Numpy]:
    """Give what each claim is about, `[seeds]`, from what was measured, `[seeds, ...]`."""

    def furthest(name: str) -> Numpy:
        off = [found[prefix + name] - found[prefix + "bound"] for prefix in ("", "robust_")]
        off = np.concatenate(off, 1)
        return np.take_along_axis(off, np.abs(off).argmax(1)[:, None], 1)[:, 0]

    def gain(name: str) -> Numpy:
        return (found[name][:, 1:] - found[name][:, :1]).mean(1)

    return {
        "closed_form": found["difference"].max(1),
        "samples_approach_it": slope(np.log(s.samples), np.log(found["sampled"]).mean(1)) + 0.5,
        "excess": (found["rise"] / found["rise_closed"]).mean(1) - 1,
        "printed_form_is_double": (found["rise"] / found["rise_printed"]).mean(1) - 0.5,
        "condition": slope(np.log10(s.conditions), found["aligned"]),
        "bound_is_attained": furthest("attained"),
        "bound_holds": furthest("least"),
        "robust_worst_case": gain("robust_least"),
        "robust_random_means": gain("robust_aligned"),
    }


def judge(s: Settings, found: dict[str, Numpy], fine: Numpy) -> list[Finding]:
    """Give each claim its interval over seeds. fine: `[seeds]`, False where something is undefined."""
    note = "" if fine.all() else f"left out: {(~fine).sum()} seeds with undefined measures"
    values = estimands(s, found)
    return [finding(claim, student(values[name], mask=fine), note=note) for name, claim in claims(s).items()]


def pictures(s: Settings, found: dict[str, Numpy]) -> list[records.Picture]:
    """Draw each theorem against what was measured."""

    def against(
        name: str, x: Sequence[float], series: dict[str, Numpy], title: str, xlabel: str, ylabel: str, *words: str
    ) -> records.Picture:
        labels = {"title": title, "xlabel": f"{xlabel} (log scale)", "ylabel": ylabel}
        return records.Picture(name, figures.against_strength(np.array(x), series, **labels), *words)

    exponents = {f"{n:,} examples": found["sampled"][:, :, i] for i, n in enumerate(s.samples)}
    exponents = {"exact moments": found["difference"], **exponents, "ordinary": found["ordinary"]}
    exponents = {name: np.log10(np.maximum(v, 1e-9)) for name, v in exponents.items()}
    forms = {"ordinary": found["rise"] / found["rise_closed"], "as printed": found["rise"] / found["rise_printed"]}
    ordinary = {"random means": found["aligned"], "worst mean, by descent": found["least"], "bound": found["bound"]}
    both = {"random means": found["robust_aligned"], "worst mean": found["robust_least"]}
    flat = {f"{name.split()[0]}, ordinary": np.broadcast_to(v[:, :1], v[:, 1:].shape) for name, v in both.items()}
    robust, cosine = {name: v[:, 1:] for name, v in both.items()}, "cosine of gradient and line of means"
    return [
        against(
            "closed_form", s.lams, exponents, "Theorem 2: distance from the closed form", "multiplier lam",
            "log10 of relative difference",
            "Robust likelihood by descent, from the truth's moments and from samples; the ordinary one for comparison.",
            "Lines of the distance against the multiplier: about 1e-6 from exact moments, 0.1 to 0.001 from samples.",
        ),
        against(
            "excess", s.margins, forms, "Theorem 1: rise of the likelihood over its closed form",
            "C, in units of the least allowed", "rise under attack / closed form",
            "The rise of the ordinary likelihood under attack, over the closed form and over the one printed.",
            "Two flat lines against the multiplier C, at 1 for the ordinary form and at 1/2 for the printed one.",
        ),
        against(
            "condition", s.conditions, ordinary, "Theorem 3: alignment under ordinary likelihood", "condition number",
            cosine, "The cosine between the classifier's gradient and the line between the classes.",
            "Lines falling with the condition number: random means above, the worst mean on the bound below.",
        ),
        against(
            "radius", s.radii, robust | flat, "Theorem 3: alignment under robust likelihood",
            "radius, root mean square", cosine,
            f"Condition number {s.condition:g}, average variance 1; radius: of the perturbations prepared for.",
            "Lines rising towards 1 with the radius, for random means and the worst, over the flat ordinary ones.",
        ),
        _ellipses(),
    ]  # fmt: skip


def _ellipses(radii: Sequence[float] = (0.0, 0.5, 1.0, 2.0), pixels: int = 280) -> records.Picture:
    """Draw the classes and the decision line of one truth in the plane under ordinary and robust likelihood."""
    turn = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
    truth = Gaussian(jnp.array([1.5, 0.0]), jnp.asarray(turn @ np.diag([1.9, 0.1]) @ turn.T, jnp.float32))
    models = [truth]
    for radius in radii[1:]:
        models.append(gaussian.robust_maximum_likelihood(truth, gaussian.robust_multiplier(radius, truth)))
    return records.Picture(
        "ellipses",
        figures.grid(
            np.stack([_panel(model, truth, pixels) for model in models]),
            title="Robust likelihood widens the classes and turns the decision line",
            columns=len(radii), labels=[f"radius {radius:g}" if radius else "ordinary" for radius in radii],
        ),
        "The classes (one standard deviation; pale: the truth), the line between their means, and the decision line.",
        "Four panels of two ellipses each, rounder and wider as the radius grows, while the decision line turns "
        "perpendicular to the line between the means.",
    )  # fmt: skip


def _panel(model: Gaussian, truth: Gaussian, pixels: int, reach: float = 4.2) -> Numpy:
    """Paint one panel `[pixels, pixels, 3]`: level lines of functions of the plane, by distance over slope."""
    side = np.linspace(-reach, reach, pixels)
    plane = np.stack(np.meshgrid(side, -side), -1)
    image = np.ones((pixels, pixels, 3))

    def paint(distance: Numpy, colour: str, width: float) -> None:
        ink = np.clip(0.5 + width / 2 - distance * pixels / (2 * reach), 0, 1)[..., None]
        image[:] = (1 - ink) * image + ink * np.array(list(bytes.fromhex(colour[1:]))) / 255

    def ellipse(g: Gaussian, sign: float, colour: str, width: float) -> None:
        away = plane - sign * np.asarray(g.mean)
        pulled = away @ np.linalg.inv(np.asarray(g.covariance))
        size = np.sqrt((away * pulled).sum(-1)) + 1e-9
        paint(np.abs(size - 1) * size / (np.linalg.norm(pulled, axis=-1) + 1e-9), colour, width)

    weight, mean = np.asarray(gaussian.separator(model)), np.asarray(truth.mean)
    across = np.array([-mean[1], mean[0]])
    paint(np.abs(plane @ across) / np.linalg.norm(across), PALE, 2.0)
    paint(np.abs(plane @ weight) / np.linalg.norm(weight), figures.INK, 2.5)
    for sign, colour in ((1.0, figures.PALETTE[0]), (-1.0, figures.PALETTE[1])):
        ellipse(truth, sign, PALE, 2.0)
        ellipse(model, sign, colour, 4.0)
    return image


def table_of(s: Settings, found: dict[str, Numpy]) -> dict[str, Numpy]:
    """Give the tidy table. at: C over its least, lam, condition number, or radius (0: ordinary likelihood)."""
    sampled = {f"sampled_{n}": found["sampled"][:, :, i] for i, n in enumerate(s.samples)}
    grids = {"rise": s.margins, "robust": (0.0, *s.radii), "difference": s.lams, "ordinary": s.lams, "sampled": s.lams}
    parts = []
    for name, values in {**{k: v for k, v in found.items() if k != "sampled"}, **sampled}.items():
        at = np.array(grids.get(name.split("_")[0], s.conditions), float)
        seed, place = (each.ravel() for each in np.meshgrid(np.arange(len(values)), at, indexing="ij"))
        parts.append((np.full(values.size, name), seed, place, values.ravel()))
    columns = ("quantity", "seed", "at", "value")
    return {column: np.concatenate(each) for column, each in zip(columns, zip(*parts, strict=True), strict=True)}


def run(s: Settings) -> None:
    """Measure all seeds, judge, and write the record."""
    work = experiment.begin(
        s, PRESETS, small=s.dims < 10,
        title="The theorems on robust likelihood of two Gaussians",
        question="Do gain, minimum and alignment under an adversary have the published closed forms?",
    )  # fmt: skip
    claims(s)
    done = sweep(
        measurement(lambda key, data: measure(s, key), ()), table.grid({}, s.seeds), (), steps=1, chunk=1,
        config=work.config, out=s.out / "runs", **s.driver(),
    )  # fmt: skip
    if work.waits(len(done.runs), s.seeds):
        return
    found = {name: np.asarray(v, np.float64) for name, v in done.map(lambda state, _: state.found).items()}
    findings = judge(s, found, np.array([run.id not in done.diverged for run in done.runs]))
    work.write(findings, pictures=pictures(s, found), rows=table_of(s, found), diverged=done.diverged)


PRESETS = {
    "quick": Settings(),
    "full": Settings(seeds=200, dims=20, samples=(1000, 4000, 16_000), starts=32, steps=150),
}

if __name__ == "__main__":
    cli.main(run, PRESETS)

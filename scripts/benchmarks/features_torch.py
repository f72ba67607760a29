"""The peer of `experiments/adversarial_features.py`: the data sets of Ilyas et al. 2019 in PyTorch, from the paper.

Written from "Adversarial Examples Are Not Bugs, They Are Features" (sections 3.1, 3.2 and appendix C), for L2 and
8 x 8 digits, to check the other implementation by the numbers alone. A "teacher" is a pair of networks, one trained as
usual, one by L2 PGD; all teachers run side by side, as a leading axis of every array. Set by set a student is trained
from scratch on what its teacher made, and measured on the untouched test images.

The digits and their split come from our library, so that both implementations see the same images:

    .venv/bin/python -c "import numpy; from interp_jax.data import images; train, test = images.by_name(
        'digits'); numpy.savez('digits.npz', train_images=train.images, train_labels=train.labels,
        test_images=test.images, test_labels=test.labels)"
    .peers/attacks/bin/python scripts/benchmarks/features_torch.py --data digits.npz --out features.json

What the paper leaves open is settled thus, or otherwise by a flag. Attacks in training and testing scale the
perturbation into the ball, then clip (`--back projected`: onto ball and box at once, as those that make D_rand, D_det
and D_other always do). Weights begin LeCun-normal (`--init glorot`). Attacks follow PyTorch's cross entropy, whose
float32 loses the label's part of the gradient where its p rounds to 1 (`--loss exact` keeps it). Noise is added at full
length and then clipped, so it ends shorter; the sets "noise, lengthened" have it at full length after the clip. An
inversion's size is its distance from x, `moved` that from its own start; its error is |g(x') - g(x)| / |g(x)|, its hit
the share of images that the inverted network itself gives the label of x.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIZES, CLASSES, BATCH = (64, 256, 64, 10), 10, 64
TEACHER_STEPS, STUDENT_STEPS, RATES = 1500, 1000, (1e-3, 3e-3)
EPS, FAR = 0.5, 1.5  # of adversarial training and testing; of the relabelled sets
Net = list[Tensor]
Map = Callable[[Tensor], Tensor]
Numbers = dict[str, Tensor]


class Data(NamedTuple):
    """images: `[N, 64]` in [0, 1]. labels: `[N]`. With a leading axis of teachers where teachers made them."""

    images: Tensor
    labels: Tensor


class Made(NamedTuple):
    """A set `[M, N]`, and how it came out: columns of one number a teacher."""

    data: Data
    known: Numbers


class Reading(NamedTuple):
    """How what the paper leaves open is read.

    fresh: the first weights. back: the step back of training and testing attacks. loss: what all attacks follow.
    """

    fresh: Callable[[int], Net]
    back: Callable[[Tensor, float | Tensor], Map]
    loss: Callable[[Net, Tensor, Tensor], Tensor]


# networks, `M` side by side: weights `[M, in, out]`, biases `[M, 1, out]`, inputs `[M, B, 64]`


def layers(count: int, draw: Callable[[Tensor, int, int], Tensor]) -> Net:
    """Make weights by `draw(empty, fan-in, fan-out)` and zero biases."""
    net = []
    for fan_in, fan_out in pairwise(SIZES):
        net += [draw(torch.empty(count, fan_in, fan_out), fan_in, fan_out), torch.zeros(count, 1, fan_out)]
    return net


def lecun(count: int) -> Net:
    """Draw LeCun-normal weights: cut at two deviations, variance 1 / fan-in after the cut."""

    def draw(weight: Tensor, fan_in: int, _: int) -> Tensor:
        scale = fan_in**-0.5 / 0.87962566103423978
        return torch.nn.init.trunc_normal_(weight, 0, scale, -2 * scale, 2 * scale)

    return layers(count, draw)


def glorot(count: int) -> Net:
    """Draw Glorot-uniform weights: variance 2 / (fan-in + fan-out)."""

    def draw(weight: Tensor, fan_in: int, fan_out: int) -> Tensor:
        top = (6 / (fan_in + fan_out)) ** 0.5
        return weight.uniform_(-top, top)

    return layers(count, draw)


def hidden(net: Net, x: Tensor) -> Tensor:
    """Give the representation g(x) of the paper: the 64 outputs of the last hidden layer."""
    return torch.baddbmm(net[3], torch.baddbmm(net[1], x, net[0]).relu(), net[2]).relu()


def logits(net: Net, x: Tensor) -> Tensor:
    """Give `[M, B, 10]`."""
    return torch.baddbmm(net[5], hidden(net, x), net[4])


def says(net: Net, x: Tensor) -> Tensor:
    """Give the predicted classes, `[M, B]`."""
    with torch.no_grad():
        return logits(net, x).argmax(-1)


def cross_entropy(net: Net, x: Tensor, labels: Tensor) -> Tensor:
    """Give one value an example, `[M, B]`."""
    return F.cross_entropy(logits(net, x).flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)


def exact_cross_entropy(net: Net, x: Tensor, labels: Tensor) -> Tensor:
    """Give the same as log(1 + sum over the others of exp(z_k - z_label)), in double precision from the logits on."""
    z = logits(net, x).double()
    others = torch.exp(z - z.gather(-1, labels[..., None])) * (1 - F.one_hot(labels, CLASSES))
    return torch.log1p(others.sum(-1))


# moves: L2, one example a row


def norm(x: Tensor) -> Tensor:
    """Give the L2 norm of each row, kept as an axis, and never zero."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-30)


def clipped(x: Tensor, eps: float | Tensor) -> Map:
    """Make the usual step back: scale into the ball around x, then clip to [0, 1]."""
    return lambda z: (x + (z - x) * (eps / norm(z - x)).clamp_max(1)).clamp(0, 1)


def projected(x: Tensor, eps: float | Tensor) -> Map:
    """Make the exact projection onto the ball around x within [0, 1].

    By the conditions of Karush, Kuhn and Tucker it is clip(x + s (z - x)) with the largest s <= 1 that stays in the
    ball. Each round solves for s with the pixels known to be at an edge held there; s only grows, pixel after pixel.
    """

    def project(z: Tensor) -> Tensor:
        way = z - x
        room = torch.where(way > 0, 1 - x, x)
        scale = (eps / norm(way)).clamp_max(1)
        for _ in range(x.shape[-1]):
            edge = scale * way.abs() >= room
            left = (eps**2 - (room * edge).square().sum(-1, keepdim=True)).clamp_min(0)
            longer = torch.maximum((left.sqrt() / norm(way * ~edge)).clamp_max(1), scale)
            if torch.equal(longer, scale):
                break
            scale = longer
        return (x + scale * way).clamp(0, 1)

    return project


def descend(objective: Map, start: Tensor, length: float, steps: int, back: Map) -> Iterator[Tensor]:
    """Yield the start and every iterate of descent along the gradient divided by its norm, example by example."""
    x = start
    yield x
    for _ in range(steps):
        variable = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(variable).sum(), variable)
        x = back(x - length * gradient / norm(gradient))
        yield x


def last(iterates: Iterator[Tensor]) -> Tensor:
    """Keep the last iterate."""
    for x in iterates:
        final = x
    return final


def best(iterates: Iterator[Tensor], objective: Map) -> Tensor:
    """Keep of each example the iterate of smallest objective."""
    found = next(iterates)
    with torch.no_grad():
        lowest = objective(found)
    for x in iterates:
        with torch.no_grad():
            value = objective(x)
        better = value < lowest
        found, lowest = torch.where(better[..., None], x, found), torch.where(better, value, lowest)
    return found


def adversary(net: Net, x: Tensor, labels: Tensor, read: Reading) -> Tensor:
    """Attack a batch for adversarial training: 7 steps of eps / 3 from a point of the ball, last iterate.

    The point is uniform in the ball, brought nearer to x by a uniform share.
    """
    share, inner = torch.rand(2, *x.shape[:-1], 1)
    radius = EPS * share * inner ** (1 / x.shape[-1])
    direction = torch.randn_like(x)
    start = (x + radius * direction / norm(direction)).clamp(0, 1)
    return last(descend(lambda z: -read.loss(net, z, labels), start, EPS / 3, 7, read.back(x, EPS)))


# training and measuring


def fit(data: Data, rate: float, steps: int, read: Reading, robust: bool = False) -> Net:
    """Train one fresh network a row of `data` by Adam on batches drawn with replacement."""
    count, examples = data.labels.shape
    net = [p.requires_grad_() for p in read.fresh(count)]
    optimizer = torch.optim.Adam(net, lr=rate, fused=True)
    rows = torch.arange(count)[:, None]
    for _ in range(steps):
        drawn = torch.randint(examples, (count, BATCH))
        x, labels = data.images[rows, drawn], data.labels[rows, drawn]
        if robust:
            x = adversary([p.detach() for p in net], x, labels, read)
        optimizer.zero_grad()
        cross_entropy(net, x, labels).mean(1).sum().backward()
        optimizer.step()
    return [p.detach() for p in net]


def share(flags: Tensor) -> Tensor:
    """Give the share of true flags of each teacher."""
    return flags.float().mean(1)


def measure(net: Net, test: Data, read: Reading, attacked: int = 300) -> Numbers:
    """Measure on the test images: accuracy, share predicted as y + 1, accuracy against PGD-20 (any iterate counts)."""
    x, labels = spread(test, len(net[0]))
    said = says(net, x)
    few, truth = x[:, :attacked], labels[:, :attacked]
    stands = torch.ones_like(truth, dtype=torch.bool)
    attack = descend(lambda z: -read.loss(net, z, truth), few, EPS / 5, 20, read.back(few, EPS))
    for z in attack:
        stands &= says(net, z) == truth
    return {
        "clean": share(said == labels),
        "following": share(said == (labels + 1) % CLASSES),
        "robust": share(stands),
    }


def spread(data: Data, count: int) -> Data:
    """Give every teacher the same data."""
    return Data(data.images.expand(count, -1, -1), data.labels.expand(count, -1))


# the sets of the paper


def inverted(net: Net, data: Data) -> Made:
    """Make D_R or D_NR (section 3.1): from another image, match the representation of x; keep the label of x."""
    count, examples = data.labels.shape
    other = (torch.arange(examples) + torch.randint(1, examples, (count, examples))) % examples
    start = data.images[torch.arange(count)[:, None], other]
    with torch.no_grad():
        goal = hidden(net, data.images)

    def distance(x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(hidden(net, x) - goal, dim=-1)

    x = best(descend(distance, start, 0.1, 200, lambda z: z.clamp(0, 1)), distance)
    with torch.no_grad():
        error = (distance(x) / norm(goal)[..., 0]).mean(1)
    made = described(net, Data(x, data.labels), data.images)
    return made._replace(known=made.known | {"moved": length(x - start), "error": error})


def relabelled(net: Net, data: Data, targets: Tensor, read: Reading) -> Made:
    """Make D_rand, D_det or D_other (section 3.2): attack x towards a target, 50 steps, and take the target for label.

    The step is 2.5 radii over the steps. There is no random start and the last iterate counts.
    """
    path = descend(lambda z: read.loss(net, z, targets), data.images, 2.5 * FAR / 50, 50, projected(data.images, FAR))
    return described(net, Data(last(path), targets), data.images)


def noised(net: Net, made: Made, x: Tensor, lengthened: bool = False) -> Made:
    """Replace each perturbation by a random direction of the same length, and keep the targets.

    The noise is clipped to [0, 1] and so loses length, unless it is lengthened until what the clip leaves has it all.
    """
    direction = torch.randn_like(x)
    direction, radius = direction / norm(direction), norm(made.data.images - x)
    z = projected(x, radius)(x + 1e3 * direction) if lengthened else (x + radius * direction).clamp(0, 1)
    return described(net, Data(z, made.data.labels), x)


def described(net: Net, data: Data, x: Tensor) -> Made:
    """Measure how often the teacher sees the label, and how far the images are from x."""
    return Made(data, {"hit": share(says(net, data.images) == data.labels), "size": length(data.images - x)})


def length(perturbation: Tensor) -> Tensor:
    """Give the mean L2 norm of each teacher's perturbations."""
    return torch.linalg.vector_norm(perturbation, dim=-1).mean(1)


def sets(standard: Net, robust: Net, data: Data, read: Reading) -> Iterator[tuple[str, Made]]:
    """Make every set of the comparison, for all teachers at once."""
    labels = data.labels
    yield "D", described(standard, data, data.images)
    yield "D_R", inverted(robust, data)
    yield "D_NR", inverted(standard, data)
    random = relabelled(standard, data, torch.randint(CLASSES, labels.shape), read)
    yield "D_rand", random
    yield "D_rand noise", noised(standard, random, data.images)
    shifted = relabelled(standard, data, (labels + 1) % CLASSES, read)
    yield "D_det", shifted
    yield "D_det noise", noised(standard, shifted, data.images)
    others = (labels + torch.randint(1, CLASSES, labels.shape)) % CLASSES
    yield "D_other", relabelled(standard, data, others, read)
    yield "D_rand noise, lengthened", noised(standard, random, data.images, lengthened=True)
    yield "D_det noise, lengthened", noised(standard, shifted, data.images, lengthened=True)


def load(path: Path) -> tuple[Data, Data]:
    """Read the training and the test images, flattened."""
    with np.load(path) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file}
    train, test = (Data(arrays[f"{s}_images"].flatten(1), arrays[f"{s}_labels"].long()) for s in ("train", "test"))
    return train, test


def report(name: str, columns: Numbers, started: float) -> None:
    """Print the mean over teachers and its standard error."""
    shown = [f"{key} {value.mean():.4f} ({value.std() / len(value) ** 0.5:.4f})" for key, value in columns.items()]
    print(f"{time.perf_counter() - started:5.0f} s  {name:32}", *shown, flush=True)


def taught(train: Data, test: Data, read: Reading, started: float) -> tuple[Net, Net, Numbers]:
    """Train the standard and the robust teachers, and give their accuracies too."""
    standard = fit(train, 1e-3, TEACHER_STEPS, read)
    robust = fit(train, 1e-3, TEACHER_STEPS, read, robust=True)
    columns = {}
    for kind, net in (("standard", standard), ("robust", robust)):
        found = measure(net, test, read)
        report(f"{kind} teachers", found, started)
        columns |= {f"{kind}_teacher_{name}": found[name] for name in ("clean", "robust")}
    return standard, robust, columns


def run(train: Data, test: Data, teachers: int, read: Reading) -> list[dict]:
    """Train teachers, make sets, train and measure students; give one row a teacher, set and learning rate."""
    started, rows = time.perf_counter(), []
    data = spread(train, teachers)
    standard, robust, facts = taught(data, test, read, started)
    for name, made in sets(standard, robust, data, read):
        for rate in RATES:
            columns = measure(fit(made.data, rate, STUDENT_STEPS, read), test, read) | made.known
            report(f"{name}, {rate:g}", columns, started)
            values = {key: value.tolist() for key, value in (columns | facts).items()}
            rows += [
                {"teacher": teacher, "set": name, "lr": rate, "moved": None, "error": None}
                | {key: value[teacher] for key, value in values.items()}
                for teacher in range(teachers)
            ]
    return rows


def main() -> None:
    """Read the command line, run, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="digits.npz, made as above")
    parser.add_argument("--teachers", type=int, default=10, help="teachers of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default: %(default)s)")
    parser.add_argument("--init", choices=["lecun", "glorot"], default="lecun", help="(default: %(default)s)")
    parser.add_argument("--back", choices=["clipped", "projected"], default="clipped", help="(default: %(default)s)")
    parser.add_argument("--loss", choices=["softmax", "exact"], default="softmax", help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write: versions and rows")
    options = parser.parse_args()
    if options.teachers < 1:
        parser.error(f"want --teachers >= 1, got {options.teachers}")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    read = Reading(
        {"lecun": lecun, "glorot": glorot}[options.init],
        {"clipped": clipped, "projected": projected}[options.back],
        {"softmax": cross_entropy, "exact": exact_cross_entropy}[options.loss],
    )
    rows = run(*load(options.data), options.teachers, read)
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    settings = {name: getattr(options, name) for name in ("teachers", "seed", "init", "back", "loss", "threads")}
    options.out.write_text(json.dumps({"versions": versions, "settings": settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

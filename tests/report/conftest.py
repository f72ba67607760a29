import shutil

import pytest

from tests.report import example


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Write one fresh and one committed result, once."""
    root = tmp_path_factory.mktemp("results")
    example.write(root / "results", seeds=8)
    example.write(root / "committed", quick=False, seeds=20)
    return root


@pytest.fixture
def folders(written, tmp_path):
    """Give copies of the fresh and the committed results that a test may break."""
    for name in ("results", "committed"):
        shutil.copytree(written / name, tmp_path / name)
    return tmp_path / "results", tmp_path / "committed"

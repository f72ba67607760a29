import subprocess

import jax

from interp_jax.runs import provenance


def test_versions_and_device_are_named():
    assert provenance.versions()["jax"] == jax.__version__
    assert "cores" in provenance.device()
    assert "/" not in provenance.device()


def test_revision_of_a_folder(tmp_path):
    assert provenance.revision(tmp_path) is None

    def git(*words):
        author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    clean = provenance.revision(tmp_path)
    assert len(clean) == 12
    (tmp_path / "file").write_text("2")
    assert provenance.revision(tmp_path) == clean + "-dirty"

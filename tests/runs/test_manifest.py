import subprocess

from interp_jax.runs import manifest


def test_manifest_says_what_made_it():
    record = manifest.make({"a": 1}, command="x.py quick")
    assert record["config"] == {"a": 1}
    assert record["command"] == "x.py quick"
    assert {"python", "jax", "jaxlib", "numpy", "interp_jax"} <= record["versions"].keys()
    assert all(record["versions"].values())
    assert record["device"]
    assert record["created"].endswith("Z")


def test_hash_is_of_the_configuration_alone():
    assert manifest.make({"a": 1, "b": [1, 2]})["hash"] == manifest.make({"b": (1, 2), "a": 1}, more=1)["hash"]
    assert manifest.make({"a": 1})["hash"] != manifest.make({"a": 1.0})["hash"]


def test_revision_of_a_folder(tmp_path):
    assert manifest.revision(tmp_path) is None

    def git(*words):
        author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    clean = manifest.revision(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("2")
    assert manifest.revision(tmp_path) == clean + "+"

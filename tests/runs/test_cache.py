import jax
import pytest

from interp_jax.runs import cache


@pytest.fixture
def config():
    names = (
        "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )  # fmt: skip
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_default_lies_under_the_cache_folder(config, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("INTERP_JAX_NO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cache.enable()
    assert path.parent == tmp_path / "interp_jax"
    assert path.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(path)


def test_own_folder_and_off(config, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    assert cache.enable() == tmp_path / "own"
    monkeypatch.setenv("INTERP_JAX_NO_CACHE", "1")
    assert cache.enable() is None


def test_a_cache_that_cannot_be_written_is_no_error(config, tmp_path, monkeypatch):
    monkeypatch.delenv("INTERP_JAX_NO_CACHE", raising=False)
    (tmp_path / "file").touch()
    assert cache.enable(tmp_path / "file" / "below") is None

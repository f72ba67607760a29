import jax.numpy as jnp

from interp_jax.runs.profile import Profile


def test_units_after_the_first_are_traced(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda folder: calls.append("start"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: calls.append("stop"))
    with Profile(tmp_path, skip=1, units=2) as profile:
        for unit in range(5):
            profile.unit()
            calls.append(unit)
    assert calls == [0, "start", 1, 2, "stop", 3, 4]
    calls.clear()
    with Profile(tmp_path) as profile:
        profile.unit()
        profile.unit()
    assert calls == ["start", "stop"]


def test_no_folder_no_trace():
    with Profile(None) as profile:
        for _ in range(5):
            profile.unit()


def test_a_trace_is_written(tmp_path):
    with Profile(tmp_path, skip=0, units=1) as profile:
        profile.unit()
        jnp.ones(3).block_until_ready()
    assert list(tmp_path.rglob("*.xplane.pb"))

import pytest

from interp_jax.runs import progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_are_rare_and_estimate_from_this_start(clock, capsys):
    lines = progress.Lines(every=10.0)
    lines.begin(20)
    lines.skip(10)  # found in the store: no part of the estimate
    for _ in range(10):
        clock[0] += 4.0
        lines.advance("a")
    lines.close()
    assert capsys.readouterr().err.splitlines() == [
        "13/20 units, 12 s so far, 28 s left: a",
        "16/20 units, 24 s so far, 16 s left: a",
        "19/20 units, 36 s so far, 4 s left: a",
        "20/20 units, 40 s so far, 0 s left: a",
    ]


def test_everything_found_is_said(capsys):
    lines = progress.Lines()
    lines.begin(3)
    lines.skip(3)
    assert capsys.readouterr().err == "3/3 units: found done\n"


def test_bar_runs(capsys):
    bar = progress.Bar()
    bar.begin(4)
    bar.skip(1)
    bar.advance("a 2/4")
    assert bar.bar.tasks[0].completed == 2
    bar.close()


def test_choice(monkeypatch):
    assert isinstance(progress.auto(), progress.Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(progress.auto(), progress.Bar)
    monkeypatch.setattr("jax.process_index", lambda: 1)
    assert isinstance(progress.auto(), progress.Quiet)

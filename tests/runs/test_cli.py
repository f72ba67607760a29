import dataclasses
from pathlib import Path

import pytest

from interp_jax.runs import cli
from interp_jax.runs.driver import Interrupted


@dataclasses.dataclass(frozen=True)
class Toy(cli.Settings):
    steps: int = 3
    """Training steps of each run."""
    strengths: tuple[float, ...] = (1.0, 2.0)
    """Strengths of the penalty."""


PRESETS = {"quick": Toy(), "full": Toy(seeds=50, steps=300)}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(words, run=lambda settings: None):
    cli.main(run, PRESETS, ["--no-cache" if w == "" else w for w in words.split()], "toy")


def test_presets_and_flags(tmp_path):
    got = []
    call(f"quick --no-cache --strengths 1 4 16 --out {tmp_path}", got.append)
    call("full --no-cache --seeds 8 --part 2/8", got.append)
    assert got[0] == Toy(strengths=(1.0, 4.0, 16.0), out=tmp_path / "toy" / "quick", cache=False)
    assert got[1] == Toy(seeds=8, steps=300, part="2/8", out=Path("results/toy/full"), cache=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("quick --seedz 8", "Unrecognized options: --seedz, 8; perhaps --seeds?"),
        ("quick --seeds 0", "want an integer seeds >= 1, got seeds=0"),
        ("quick --seeds many", "Error parsing --seeds: invalid literal for int() with base 10: 'many'"),
        ("quick --out", "Missing value for argument '--out'. Expected 1 values"),
        ("quick --part 0/3", "want part as I/N with 1 <= I <= N (part 2 of 8 is 2/8), got '0/3'"),
        ("quick --log nowhere", "invalid choice"),
        ("medium", "Unrecognized options: medium; available subcommands: quick, full"),
        ("", "Expected one of {quick, full}"),
    ],
)
def test_bad_command_lines_get_one_line_and_code_2(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        call(words, pytest.fail)
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert lines[0].startswith("toy: error: ")
    assert lines[0].endswith("(see toy.py --help)")


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as end:
        call("quick --help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--seeds", "--out", "--part", "--distributed", "--profile", "--log", "--no-cache", "--steps"):
        assert flag in text
    assert "Strengths of the penalty." in text


def test_our_errors_get_one_line_and_code_1(capsys):
    def run(settings):
        raise ValueError("want steps > 0,\n got steps=-1")

    with pytest.raises(SystemExit) as end:
        call("quick --no-cache", run)
    assert end.value.code == 1
    assert capsys.readouterr().err == "toy: error: want steps > 0, got steps=-1\n"
    with pytest.raises(ValueError, match="steps=-1"):
        call("quick --no-cache --debug", run)


@pytest.mark.parametrize("kind", [FileNotFoundError, ImportError])
def test_what_is_missing_has_a_code_of_its_own(kind, capsys):
    def run(settings):
        raise kind("no tokenizers: pip install them")

    with pytest.raises(SystemExit) as end:
        call("quick --no-cache", run)
    assert end.value.code == cli.MISSING == 69  # scripts/reproduce knows it
    assert capsys.readouterr().err == "toy: error: no tokenizers: pip install them\n"


def test_bad_distributed_is_said(capsys):
    with pytest.raises(SystemExit) as end:
        call("quick --no-cache --distributed everywhere", pytest.fail)
    assert end.value.code == 1
    assert "want distributed as off, auto or HOST:PORT,N,I" in capsys.readouterr().err


def test_interruptions_say_how_to_go_on(capsys):
    def run(settings):
        raise Interrupted(143)

    with pytest.raises(SystemExit) as end:
        call("quick --no-cache", run)
    assert end.value.code == 143

    def now(settings):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        call("quick --no-cache", now)
    assert end.value.code == 130
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("run the same command to go on" in line for line in said)


def test_sinks_are_made_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr("interp_jax.runs.events.tensorboard", lambda folder: ("tb", folder))
    monkeypatch.setattr("interp_jax.runs.events.wandb", lambda project: ("wandb", project))
    toy = Toy(out=tmp_path / "toy" / "quick", log=("tensorboard", "wandb"))
    assert toy.sinks == (("tb", tmp_path / "toy/quick/tensorboard"), ("wandb", "toy"))
    assert toy.driver()["sinks"] is toy.sinks


def test_tasks_of_a_job_array_have_folders_of_their_own_and_the_whole_has_none(tmp_path):
    assert Toy(out=tmp_path).own == tmp_path / "runs"
    assert Toy(out=tmp_path, part="2/3").own == tmp_path / "runs" / "part-2-of-3"


def test_a_sink_that_is_not_installed_is_missed_before_work_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    ran = []
    with pytest.raises(SystemExit) as end:
        call(f"quick --no-cache --log tensorboard --out {tmp_path}", ran.append)
    assert (end.value.code, ran) == (69, [])
    assert "pip install tensorboardX" in capsys.readouterr().err

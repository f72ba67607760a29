import dataclasses
import datetime

from interp_jax.report import experiment, records
from interp_jax.runs import cli


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    steps: int = 3


def begun(tmp_path, **settings):
    s = Settings(seeds=2, out=tmp_path / "probe" / "quick", **settings)
    return experiment.begin(s, {"quick": s, "full": s}, title="Probe", question="Does it?", small=True)


def test_a_record_says_what_was_run_and_how_it_ended(tmp_path):
    work = begun(tmp_path)
    assert work.config == {"steps": 3}
    work.write([], pictures=[], rows={"seed": [0, 1]}, diverged={"beta16-seed1": 7})
    manifest = records.read(tmp_path / "probe" / "quick").manifest
    assert manifest["config"] == {"steps": 3, "seeds": 2}
    assert (manifest["experiment"], manifest["preset"], manifest["presets"]) == ("probe", "quick", ["quick", "full"])
    assert (manifest["seeds"], manifest["diverged"]) == ([0, 1], ["beta16-seed1 by step 7"])
    started, ended = (datetime.datetime.fromisoformat(manifest[name]) for name in ("started", "ended"))
    assert started <= ended
    assert manifest["finished"]
    assert manifest["wall_seconds"] >= 0


def test_a_part_waits_for_the_others_and_says_so(tmp_path, capsys):
    work = begun(tmp_path, part="1/2")
    assert not work.waits(2, 2)
    assert capsys.readouterr().err == ""
    assert work.waits(1, 2)
    assert "part 1/2 is done" in capsys.readouterr().err

import dataclasses
import datetime

import jax
import jax.numpy as jnp
import numpy as np

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


def test_seeds_are_measured_once_and_those_that_are_not_finite_are_named(tmp_path):
    def find(key, data):
        noise = jax.random.normal(key, (2,))
        return {"noise": jnp.where(jax.random.key_data(key)[-1] == 1, jnp.nan, noise + data)}

    found, diverged = begun(tmp_path).by_seed(find, jnp.zeros(2))
    assert found["noise"].shape == (2, 2)
    assert list(diverged) == ["seed=1"]
    again, _ = begun(tmp_path).by_seed(find, jnp.zeros(2))
    np.testing.assert_array_equal(again["noise"], found["noise"])
    assert np.isnan(found["noise"][1]).all()


def test_seeds_left_to_another_part_are_waited_for(tmp_path, capsys):
    def find(key, data):
        return {"total": data.sum()}

    for part in ("1/2", "2/2"):
        assert begun(tmp_path, part=part).by_seed(find, jnp.ones(3)) is None
        assert f"part {part} is done" in capsys.readouterr().err
    found, _ = begun(tmp_path).by_seed(find, jnp.ones(3))
    np.testing.assert_array_equal(found["total"], [3, 3])

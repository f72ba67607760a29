import datetime

from interp_jax.report import provenance, records


def test_a_manifest_from_begin_to_end_is_complete(tmp_path):
    first = provenance.begin("probe", "quick", {"steps": 3}, question="Does it?")
    assert (first["finished"], first["ended"], first["seeds"]) == (False, None, [])
    last = provenance.end(first, wall_seconds=1.5, seeds=[0, 1], diverged=["beta16-seed1"])
    records.write(tmp_path / "probe" / "quick", manifest=last)
    back = records.read(tmp_path / "probe" / "quick").manifest
    assert back == last
    assert datetime.datetime.fromisoformat(back["ended"]) >= datetime.datetime.fromisoformat(back["started"])

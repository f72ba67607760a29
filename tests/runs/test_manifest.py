from interp_jax.runs import manifest


def test_manifest_says_what_made_it():
    record = manifest.make({"a": 1}, command="x.py quick")
    assert record["config"] == {"a": 1}
    assert record["command"] == "x.py quick"
    assert {"python", "jax", "jaxlib", "numpy", "interp_jax"} <= record["versions"].keys()
    assert all(record["versions"].values())
    assert record["device"]
    assert record["created"].endswith("+00:00")


def test_hash_is_of_the_configuration_alone():
    assert manifest.make({"a": 1, "b": [1, 2]})["hash"] == manifest.make({"b": (1, 2), "a": 1}, more=1)["hash"]
    assert manifest.make({"a": 1})["hash"] != manifest.make({"a": 1.0})["hash"]

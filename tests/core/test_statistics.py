import inspect

from interp_jax.core import bootstrap, correlation, intervals, multiplicity, statistics, variance


def test_every_public_name_is_that_of_its_module():
    for name in statistics.__all__:
        owner = inspect.getmodule(getattr(statistics, name))
        assert owner in (bootstrap, correlation, intervals, multiplicity, variance)
        assert getattr(owner, name) is getattr(statistics, name)
        assert f"{owner.__name__.rsplit('.', 1)[1]}`" in statistics.__doc__ or name[0].isupper()

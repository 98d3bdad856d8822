import inspect

import pytest

from gen3d import errors

CODES = {
    "Gen3DError": 1,
    "UsageError": 2,
    "MissingDependency": 3,
    "MissingWeights": 4,
    "OutOfMemory": 5,
    "BadInput": 6,
    "Interrupted": 130,
}


def test_every_exception_has_the_documented_exit_code():
    found = {name: kind.exit_code for name, kind in inspect.getmembers(errors, inspect.isclass)}
    assert found == CODES


@pytest.mark.parametrize("name", CODES)
def test_every_exception_can_be_caught_as_gen3d_error(name):
    with pytest.raises(errors.Gen3DError, match="a sentence"):
        raise getattr(errors, name)("a sentence")

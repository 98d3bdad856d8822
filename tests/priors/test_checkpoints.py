"""Pickles of arrays are read; pickles of anything else are refused."""

import collections
import os
import pickle

import numpy as np
import pytest

from gen3d.errors import BadInput
from gen3d.priors.checkpoints import read_pickled_arrays


class Command:
    """Unpickling it would run a command."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return os.system, (f"touch {self.name}",)


def test_nested_arrays_become_flat():
    arrays = read_pickled_arrays(pickle.dumps({"a": {"b": np.ones((2, 3), np.float32)}, "c": np.zeros(1)}))
    assert list(arrays) == ["a/b", "c"]
    assert np.array_equal(arrays["a/b"], np.ones((2, 3)))


def test_pickles_of_both_numpy_generations():
    content = pickle.dumps({"a": np.arange(3.0)}, protocol=3)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    for name in (old, new):
        renamed = content.replace(new, name) if new in content else content.replace(old, name)
        assert read_pickled_arrays(renamed)["a"].tolist() == [0.0, 1.0, 2.0]


def test_nothing_in_a_pickle_is_run(tmp_path):
    trace = tmp_path / "trace"
    for content in (Command(trace), {"a": Command(trace)}, {"a": np.array([Command(trace)], dtype=object)}):
        with pytest.raises(BadInput, match=r"not a pickle of plain arrays.*not allowed"):
            read_pickled_arrays(pickle.dumps(content))
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"noise",
        pickle.dumps({"a": np.ones(3)})[:-10],
        pickle.dumps({"a": 1}),
        pickle.dumps({"a": np.array(["text"])}),
        pickle.dumps({"a": np.array([None], dtype=object)}),
        pickle.dumps(collections.OrderedDict()),
        pickle.dumps([np.ones(3)]),
    ],
)
def test_other_content_is_refused(content):
    with pytest.raises(BadInput, match="not a pickle of plain arrays"):
        read_pickled_arrays(content)

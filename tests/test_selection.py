import pytest

from keras_initx import InitxError
from keras_initx.selection import Selection

PATHS = ["block/dense_1/kernel", "block/dense_2/kernel", "head/kernel"]


def chosen(only=None, skip=None):
    selection = Selection(only, skip)
    selection.check(PATHS)
    return [p for p in PATHS if selection.has(p.rpartition("/")[0], p)]


@pytest.mark.parametrize(
    ("only", "skip", "count"),
    [
        (None, None, 3),
        ("*", None, 3),
        ("head", None, 1),
        ("block/*", None, 2),
        (None, "*/kernel", 0),
        (["head", "block/dense_1"], None, 2),
        ("*", "head", 2),
        ("dense_?", None, 2),
        ("head/kernel", None, 1),
    ],
)
def test_patterns(only, skip, count):
    paths = [*PATHS, *(p.rpartition("/")[0] for p in PATHS)]
    selection = Selection(only, skip)
    selection.check(paths)
    assert sum(selection.has(p.rpartition("/")[0], p) for p in PATHS) == count


def test_a_pattern_that_matches_nothing_gets_the_nearest():
    with pytest.raises(InitxError, match=r"^skip: received 'heda/kernel'.*Did you mean 'head/kernel'"):
        chosen(skip="heda/kernel")
    with pytest.raises(InitxError, match="only: received 3"):
        chosen(only=3)

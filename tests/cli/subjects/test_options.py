"""Test what the options of `keras-initx tune` become; none of them is ignored."""

import keras_tuner
import numpy as np
import pytest

from keras_initx import InitxError
from keras_initx.cli.subjects.options import class_weights, objective_of
from tests.support.commands import run
from tests.support.scripts import write_script

pytestmark = pytest.mark.one_backend


def test_balanced_weights_give_every_class_the_same_total():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights("balanced", labels)
    totals = [weights[number] * (labels == number).sum() for number in (0, 1, 2)]
    np.testing.assert_allclose(totals, len(labels) / 3)


def test_weights_by_name_become_weights_by_number():
    assert class_weights('{"yes": 5, "no": 1}', None, ("no", "yes")) == {0: 1.0, 1: 5.0}
    assert class_weights('{"0": 1, "1": 2.5}', None) == {0: 1.0, 1: 2.5}
    assert class_weights('{"1": 3}', np.array([0, 1, 1])) == {1: 3.0}
    assert class_weights('{"2": 3}', np.array([0.5, 1])) == {2: 3.0}
    assert class_weights(None, None) is None


@pytest.mark.parametrize(
    ("text", "labels", "classes", "message"),
    [
        ("blanced", None, (), "balanced, or a JSON object"),
        ('{"a": 0}', None, (), "positive weights"),
        ('{"a": true}', None, (), "positive weights"),
        ("[1, 2]", None, (), "a JSON object"),
        ('{"yse": 1}', None, ("no", "yes"), "'yse' is not known. Did you mean 'yes'"),
        ('{"a": 1}', None, (), "weights by class number"),
        ('{"2": 1}', np.array([0, 1, 1]), (), "'2' is not known.* Known names: 0, 1"),
        ('{"2": 1}', np.array([[0.0], [1.0]]), (), "'2' is not known.* Known names: 0, 1"),
        ('{"2": 1}', np.eye(2), (), "'2' is not known.* Known names: 0, 1"),
        ("balanced", None, (), "balanced needs an array y of class numbers"),
        ("balanced", np.zeros(4), (), "balanced needs an array y of class numbers"),
    ],
)
def test_weights_that_cannot_be_used(text, labels, classes, message):
    with pytest.raises(InitxError, match=message):
        class_weights(text, labels, classes)


def test_an_objective_may_name_its_direction():
    assert objective_of(None, "val_loss") == "val_loss"
    assert objective_of("val_mae", "val_loss") == keras_tuner.Objective("val_mae", "min")
    assert objective_of("val_rmse", "", {"val_rmse": "min"}) == keras_tuner.Objective("val_rmse", "min")
    assert objective_of("val_r2:max", "val_loss") == keras_tuner.Objective("val_r2", "max")
    with pytest.raises(InitxError, match="NAME, NAME:min or NAME:max"):
        objective_of("val_r2:up", "val_loss")
    message = r"^`objective` must be NAME:min or NAME:max .*, got 'val_f1'\. Pass `objective=val_f1:max`"
    with pytest.raises(InitxError, match=message):
        objective_of("val_f1", "val_loss")
    for text in ("val_f1", "val_f1:max"):
        with pytest.raises(
            InitxError, match=r"^`objective` 'val_f1' is not known.*Known names: loss, val_loss"
        ):
            objective_of(text, "val_loss", {"val_loss": "min", "loss": "min"})


def test_class_weights_in_two_places_are_an_error(capsys, in_a_new_folder):
    write_script(in_a_new_folder / "own_file.py", '{"x": x, "y": y, "class_weight": {0: 1.0}}')
    code, _, err = run(capsys, "tune", "own_file.py", "--class-weight", "balanced")
    assert code == 2
    assert err.startswith("error: --class-weight is also among what data() returns.")

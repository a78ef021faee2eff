"""Options of `keras-initx tune` that do not apply to its subject are errors."""

import pytest

from tests.support.commands import run
from tests.support.scripts import write_script

pytestmark = pytest.mark.one_backend


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--width", "64"], "--width does not apply to a Python file"),
        (["--dataset", "digits"], "--dataset does not apply to a Python file"),
        (["--target", "y"], "--target does not apply to a Python file"),
        (["--activations", "relu"], "--activations does not apply to a Python file"),
        (["--optimizer", "sdg"], "--optimizer 'sdg' is not known. Did you mean 'sgd'?"),
    ],
)
def test_an_option_without_an_effect_is_an_error_even_with_its_default(
    capsys, in_a_new_folder, options, message
):
    write_script(in_a_new_folder / "own_file.py")
    code, _, err = run(capsys, "tune", "own_file.py", *options)
    assert code == 2
    assert err.startswith(f"error: {message}")
    assert not (in_a_new_folder / "results").exists()


def test_a_batch_size_for_data_with_batches_of_their_own_is_an_error(capsys, in_a_new_folder):
    returned = '{"x": lambda: iter([(x, y)]), "steps_per_epoch": 1}'
    write_script(in_a_new_folder / "own_file.py", returned)
    code, _, err = run(capsys, "tune", "own_file.py", "--batch-size", "8")
    assert code == 2
    assert "--batch-size must be left out if data() yields batches of its own, got 8." in err

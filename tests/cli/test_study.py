"""Test `keras-initx study`: its tables and its differences."""

import pytest

from tests.support.commands import SMALL, run

pytestmark = pytest.mark.one_backend


def test_a_row_for_each_run_and_the_differences(capsys, in_a_new_folder):
    code, out, _ = run(capsys, "study", "--dataset", "iris", *SMALL, "--quiet")
    assert code == 0
    for scheme in ("Random: uniform", "Xavier: uniform", "He: truncated normal"):
        assert scheme in out
    # Three schemes, three activations, two seeds.
    assert sum(" of 1 " in line for line in out.splitlines()) == 18
    assert sum(" at n=2" in line for line in out.splitlines()) == 9
    assert "85-88 %" in out


def test_a_regression_has_no_accuracy_to_compare(capsys, in_a_new_folder):
    rows = "".join(f"{i % 7},{i}.5\n" for i in range(60))
    (in_a_new_folder / "own.csv").write_text(f"a,y\n{rows}")
    code, _, err = run(capsys, "study", "--data", "own.csv", "--target", "y", *SMALL)
    assert code == 2
    assert err.startswith(
        "error: --data 'own' is for a regression, but the schemes are compared by accuracy."
    )
    assert not (in_a_new_folder / "results").exists()

"""Names of layers and models may contain control characters: none of them reaches the terminal or HTML."""

import unicodedata
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_initx import InitxError, diagnose, initialize
from keras_initx.diagnostics.compare import Comparison
from tests.support.commands import exit_code

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

# Red text, a bell, a C1 sequence that erases the line, a carriage return, a reversed direction, a line break.
HOSTILE = "a\x1b[31m\x07\x9b2K\r\u202eb\nc"
SHOWN = r"a\x1b[31m\x07\x9b2K\r\u202eb\nc"


def hostile_model(name=HOSTILE, last=1):
    """Return a model with hostile names, whose layers get verdicts and notes."""
    layers = [
        keras.layers.Dense(64, activation="relu", kernel_initializer="zeros", name=f"{name}{n}")
        for n in range(3)
    ]
    end = keras.layers.Rescaling(last, name="end")
    return keras.Sequential(
        [keras.Input((8,)), *layers, end, keras.layers.Dense(2, name="out")], name=HOSTILE
    )


def obeyed(text):
    """Return the characters of a text that a terminal obeys instead of showing them, line breaks apart."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")]


def hostile_report():
    """Return a report with hostile names; TensorFlow refuses to compile a model that has them."""
    report = diagnose(hostile_model("dense"))
    findings = [replace(f, text=f.text.replace("dense", HOSTILE)) for f in report.findings]
    rows = [replace(row, path=row.path.replace("dense", HOSTILE)) for row in report.rows]
    return replace(report, model=HOSTILE, rows=tuple(rows), findings=tuple(findings), notes=(HOSTILE,))


def texts():
    report = hostile_report()
    comparison = Comparison(HOSTILE, {HOSTILE: report})
    plan = initialize(hostile_model(), skip="*0", seed=0)
    yield from (plan.summary(), str(plan), plan._repr_html_(), plan.to_json())
    yield from (report.summary(), str(report), repr(report), report._repr_html_(), report.to_json())
    yield from (str(comparison), repr(comparison), comparison._repr_html_(), comparison.to_json())


def test_nothing_that_is_returned_as_text_has_control_characters():
    found = list(texts())
    assert len(found) == 13
    for text in found:
        assert not obeyed(text)
        assert "x1b[31m" in text.replace("u001b", "x1b")


def test_the_names_are_shown():
    assert initialize(hostile_model(), seed=0).summary().startswith(f"{SHOWN}: initialized")
    assert hostile_report().summary().startswith(f"{SHOWN}: ")
    assert f"{SHOWN}0" in hostile_report().summary()


def test_errors():
    with pytest.raises(InitxError) as caught:
        initialize(hostile_model(last=np.inf), skip="out", seed=0, method=HOSTILE)
    assert not obeyed(str(caught.value))
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, name=HOSTILE)])
    with pytest.raises(InitxError) as caught:
        initialize(model, data=np.zeros((4, 8), "float32"))
    assert not obeyed(str(caught.value))
    assert r"a\x1b[31m" in str(caught.value)
    # The attributes stay as they are, for programs.
    assert HOSTILE.split("\n")[0] in caught.value.argument


def test_the_figure():
    pytest.importorskip("matplotlib")
    figure = hostile_report().plot()
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert f"{SHOWN}0" in labels
    assert not obeyed("".join([*labels, figure.get_suptitle()]))
    figure.canvas.draw()


def test_the_command_line(tmp_path, capsys):
    file = tmp_path / f"{HOSTILE}.keras"
    hostile_model().save(file)
    for arguments in (["inspect", file], ["inspect", file, "--json"], ["compare", file]):
        assert exit_code(*arguments) == 0
        printed = capsys.readouterr()
        assert not obeyed(printed.out + printed.err)
        assert "b[31m" in printed.out + printed.err


def test_a_path_that_does_not_exist(tmp_path, capsys):
    assert exit_code("inspect", f"{tmp_path}/{HOSTILE}.keras") == 2
    assert not obeyed(capsys.readouterr().err)

import os
import shutil

import pytest

from keras_initx._display import cell_text, html_table, html_text, lines_text, number, plain, share, width

pytestmark = pytest.mark.check


def test_numbers_have_three_digits_and_no_negative_zero():
    assert [number(value) for value in (0.0, -0.0, 1.23456, -1234.5, 1e-9)] == [
        "0",
        "0",
        "1.23",
        "-1.23e+03",
        "1e-09",
    ]
    assert number(float("nan")) == "-"


def test_fractions_are_whole_percentages():
    assert [share(value) for value in (0.0, -0.0, 0.256, 1.0)] == ["0 %", "0 %", "26 %", "100 %"]
    assert share(float("nan")) == "-"


def test_json_has_lists_and_no_nan():
    assert plain({"a": (1, float("nan")), "b": [float("inf"), "x", None]}) == {
        "a": [1, None],
        "b": [None, "x", None],
    }


@pytest.mark.parametrize("columns", [80, 150])
def test_the_width_of_the_terminal(monkeypatch, columns):
    monkeypatch.setattr(shutil, "get_terminal_size", lambda fallback: os.terminal_size((columns, 24)))
    assert width() == columns


def test_without_a_terminal_a_table_has_room_for_every_column(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(shutil.os, "get_terminal_size", lambda descriptor: os.terminal_size((0, 0)))
    assert width() == 150


def test_cells_of_a_table_are_escaped():
    table = html_table([("<a>", str), ("b", lambda row: row * 2)], ["x&", "y"])
    assert table == (
        "<table><tr><th>&lt;a&gt;</th><th>b</th></tr>"
        "<tr><td>x&amp;</td><td>x&amp;x&amp;</td></tr><tr><td>y</td><td>yy</td></tr></table>"
    )


def test_texts_have_no_control_characters():
    assert html_text("<\x1b>") == "&lt;\\x1b&gt;"
    assert cell_text("[bold]\n") == "\\[bold]\\n"
    assert lines_text(["a\nb", "c"]) == "a\\nb\nc"

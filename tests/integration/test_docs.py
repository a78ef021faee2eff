"""Check the reference: the committed pages are up to date and complete, and their code and links work."""

import importlib
import inspect
import math
import re
from pathlib import Path

import pytest

import keras_initx

pytestmark = pytest.mark.check

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted(REFERENCE.glob("*.md"))
# Collected without the generator, so that a class which the generator omits is noticed.
INITIALIZERS = {
    name
    for name in keras_initx.__all__
    if inspect.isclass(thing := getattr(keras_initx, name))
    and issubclass(thing, keras_initx.LayerAware)
    and thing is not keras_initx.LayerAware
}
PLOTTED = {"HeAuto", "XavierAuto", "Auto", "OrthogonalAuto"}
REMEDY = "the reference differs from the docstrings: run make docs"


@pytest.fixture(scope="module")
def generate():
    # docs is not a package: its modules import each other from their own folder, as under `make docs`.
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module("generate")


@pytest.fixture(scope="module")
def written(generate, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    generate.main(folder)
    return folder


def test_the_committed_pages_are_what_is_written_now(written):
    assert [path.name for path in PAGES] == sorted(path.name for path in written.glob("*.md")), REMEDY
    for path in PAGES:
        assert path.read_text(encoding="utf-8") == (written / path.name).read_text(encoding="utf-8"), REMEDY


def test_every_figure_is_written_and_committed(written):
    # The pixels are not compared, because every version of matplotlib draws a little differently.
    expected = {f"{name}.png" for name in PLOTTED | {"gains"}}
    for folder in (written, REFERENCE):
        assert {path.name for path in folder.glob("*.png")} == expected
        for name in expected:
            data = (folder / name).read_bytes()
            assert data.startswith(b"\x89PNG")
            assert 5_000 < len(data) < 80_000


def test_every_initializer_has_a_page_and_a_line_in_the_index():
    assert len(INITIALIZERS) >= 10
    index = (REFERENCE / "index.md").read_text(encoding="utf-8")
    assert {path.stem for path in PAGES} == INITIALIZERS | {"index", "gains"}
    assert set(re.findall(r"^\| .* \| \[`(\w+)`\]\(\1\.md\) \| .+ \|$", index, re.MULTILINE)) == INITIALIZERS


@pytest.mark.parametrize("name", sorted(INITIALIZERS))
def test_every_page_is_complete(name):
    text = (REFERENCE / f"{name}.md").read_text(encoding="utf-8")
    plot = ["Gain by activation"] if name in PLOTTED else []
    sections = ["Formula", *plot, "Arguments", "Errors", "Example", "References"]
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    assert parts[1::2] == sections
    assert all(part.strip() for part in parts)
    assert f"# {name}\n" in text
    assert (f"]({name}.png)" in text) == (name in PLOTTED)
    # Every argument is described in full, without a reference to another page.
    described = re.findall(r"^\| `(\w+)` \| `(.+?)` \| .{10,} \|$", text, re.MULTILINE)
    assert [argument for argument, _ in described] == [
        *inspect.signature(getattr(keras_initx, name)).parameters
    ]
    assert "As in" not in text
    assert text.endswith("\n")
    assert not re.search(r"[ \t]$|\n\n\n|\n\n\Z", text, re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    assert links
    for link in links:
        if link.startswith("https://"):
            assert re.fullmatch(r"https://arxiv\.org/abs/(\d{4}\.\d{4,5}|[a-z-]+/\d{7})", link), link
        else:
            assert (REFERENCE / link).is_file(), link


@pytest.mark.parametrize("path", [p for p in PAGES if p.stem != "index"], ids=lambda p: p.stem)
def test_code_runs_unchanged(path):
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    # The first block of a page is the signature, so take the last one.
    code = blocks[-1]
    assert code.startswith(("import keras", "from keras_initx"))
    exec(compile(code, path.name, "exec"), {})


def test_pages_name_the_strings_of_their_classes():
    text = (REFERENCE / "XavierAuto.md").read_text(encoding="utf-8")
    assert '`"xavier_auto"`, `"glorot_auto"`' in text
    assert "no string" in (REFERENCE / "PriorBias.md").read_text(encoding="utf-8")


def test_the_gains_match_values_worked_out_by_hand():
    lines = (REFERENCE / "gains.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    rows = {name: values for name, *values in cells}
    mean = f"{1 / math.sqrt(2 * math.pi):.6g}"
    assert rows["relu"] == ["2", "2", "1", mean, "2"]
    assert rows["leaky_relu, a = 0.1"][:3] == [f"{2 / 1.01:.6g}", f"{2 / 1.01:.6g}", "1"]
    # E[exp(2z)] = e^2, E[exp(z)] = e^(1/2); exp is its own derivative.
    inverse = f"{math.exp(-2):.6g}"
    assert rows["exponential"] == [inverse, inverse, "1", f"{math.exp(0.5):.6g}", "–"]
    # P(|z| < 1) = erf(1 / sqrt(2)) is E[phi'^2] of the clipped identity.
    assert rows["hard_tanh"][1] == f"{1 / math.erf(math.sqrt(0.5)):.6g}"
    assert rows["tanh"][4] == f"{25 / 9:.6g}"
    assert "threshold" not in rows


def test_an_argument_that_no_docstring_describes_is_an_error(generate):
    class Half(keras_initx.HeAuto):
        """One line.

        w = 1

        Args:
            mode: As in `HeAuto`.
        """

    with pytest.raises(ValueError, match=r"Half takes .*'distribution'.* describes \['mode'\]"):
        generate.page(Half)

"""The docstrings of this project, cut into the sections that CONTRIBUTING.md prescribes."""

import doctest
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

# The order is fixed and few sections exist, so that no parser of docstrings has to be a dependency: those
# know neither several arguments in one entry nor "As in".
_SECTION = re.compile(r"^(Args|Raises|Returns|Example|References):", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*(?:\n +.*)*)", re.MULTILINE)
_AS_IN = re.compile(r"As in `(\w+)`\.\s*")
_ARXIV = re.compile(r"arXiv ((?:[a-z-]+/)?\d[\d.]+\d)")


@dataclass(frozen=True)
class Docstring:
    """A docstring by its sections.

    Attributes:
        line: The first line.
        formula: The paragraphs between it and the first section.
        sections: The text of each section that there is, by its title.
    """

    line: str
    formula: str
    sections: dict[str, str]

    def entries(self, title: str) -> list[tuple[tuple[str, ...], str]]:
        """The entries "a, b: text" of a section as (names, text)."""
        text = textwrap.dedent(self.sections.get(title, "").strip("\n"))
        return [(tuple(names.split(", ")), one_line(entry)) for names, entry in _ENTRY.findall(text)]


def parse(cls: type) -> Docstring:
    """The docstring of a class by its sections.

    Raises:
        ValueError: The class has none, or one without a formula.
    """
    before, *rest = _SECTION.split(inspect.cleandoc(cls.__doc__ or ""))
    line, _, formula = before.partition("\n\n")
    if not formula.strip():
        raise ValueError(f"{cls.__name__}: a docstring has one line, then the formula")
    titles, texts = rest[::2], rest[1::2]
    return Docstring(one_line(line), formula.strip(), dict(zip(titles, map(str.rstrip, texts), strict=True)))


def arguments(cls: type, others: Mapping[str, type]) -> tuple[dict[str, str], list[str]]:
    """(the text of every argument, what is said of them beside), each "As in" put in full.

    Args:
        cls: The class.
        others: By name, the classes beside its bases that an "As in" may name.
    """
    known = {**{base.__name__: base for base in cls.__mro__}, **others}
    texts, notes = {}, []
    for names, text in parse(cls).entries("Args"):
        found = _AS_IN.match(text + " ")
        if not found:
            texts |= dict.fromkeys(names, text)
            continue
        there, _ = arguments(known[found[1]], others)
        texts |= {name: there[name] for name in names}
        # Of one entry for many arguments, what follows "As in" belongs to none of them.
        notes += [text[found.end() :]] * (found.end() < len(text))
    return texts, notes


def example(cls: type) -> tuple[str, str]:
    """(what the example shows, its code with every result as a comment), complete with imports."""
    text = parse(cls).sections["Example"]
    intro = one_line(text.partition(">>>")[0])
    lines = ["import keras", "", "import keras_initx"] if "keras." in text else ["import keras_initx"]
    if re.search(rf"\b{cls.__name__}\(", text):
        lines[-1] = f"from keras_initx import {cls.__name__}"
    lines.append("")
    for step in doctest.DocTestParser().get_examples(text):
        lines += [step.source.rstrip(), *(f"# {result}" for result in step.want.splitlines())]
    return _capital(intro), "\n".join(lines)


def references(docstring: Docstring) -> list[str]:
    """One entry for each work, arXiv's numbers as links."""
    works = one_line(docstring.sections["References"]).rstrip(".").split("; ")
    return [_ARXIV.sub(r"[\g<0>](https://arxiv.org/abs/\1)", _capital(work)) for work in works]


def one_line(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

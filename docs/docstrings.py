"""Parse docstrings into the sections that CONTRIBUTING.md prescribes."""

import doctest
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

# The order is fixed and the sections are few, so no parser library is needed. Those support neither several
# arguments in one entry nor "As in".
_SECTION = re.compile(r"^(Args|Raises|Returns|Example|References):", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*(?:\n +.*)*)", re.MULTILINE)
_AS_IN = re.compile(r"As in `(\w+)`\.\s*")
_ARXIV = re.compile(r"arXiv ((?:[a-z-]+/)?\d[\d.]+\d)")


@dataclass(frozen=True)
class Docstring:
    """The sections of a docstring.

    Attributes:
        line: The first line.
        formula: The paragraphs between the first line and the first section.
        sections: The text of each section by its title.
    """

    line: str
    formula: str
    sections: dict[str, str]

    def entries(self, title: str) -> list[tuple[tuple[str, ...], str]]:
        """Return the entries "a, b: text" of a section as (names, text)."""
        text = textwrap.dedent(self.sections.get(title, "").strip("\n"))
        return [(tuple(names.split(", ")), one_line(entry)) for names, entry in _ENTRY.findall(text)]


def parse(cls: type) -> Docstring:
    """Parse the docstring of a class.

    Raises:
        ValueError: The class has no docstring, or the docstring has no formula.
    """
    before, *rest = _SECTION.split(inspect.cleandoc(cls.__doc__ or ""))
    line, _, formula = before.partition("\n\n")
    if not formula.strip():
        raise ValueError(f"{cls.__name__}: a docstring has one line, then the formula")
    titles, texts = rest[::2], rest[1::2]
    return Docstring(one_line(line), formula.strip(), dict(zip(titles, map(str.rstrip, texts), strict=True)))


def arguments(cls: type, others: Mapping[str, type]) -> tuple[dict[str, str], list[str]]:
    """Return (the text of every argument, notes on all of them), with every "As in" resolved.

    Args:
        cls: The class.
        others: The classes, by name, that an "As in" may name in addition to the bases.
    """
    classes = {**{base.__name__: base for base in cls.__mro__}, **others}
    texts, notes = {}, []
    for names, text in parse(cls).entries("Args"):
        as_in = _AS_IN.match(text + " ")
        if not as_in:
            texts |= dict.fromkeys(names, text)
            continue
        referenced, _ = arguments(classes[as_in[1]], others)
        texts |= {name: referenced[name] for name in names}
        # Text after "As in" concerns the entry as a whole, not one of its arguments.
        notes += [text[as_in.end() :]] * (as_in.end() < len(text))
    return texts, notes


def example(cls: type) -> tuple[str, str]:
    """Return (the introduction of the example, its code with imports and with each result as a comment)."""
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
    """Return one entry for each work, with arXiv numbers as links."""
    works = one_line(docstring.sections["References"]).rstrip(".").split("; ")
    return [_ARXIV.sub(r"[\g<0>](https://arxiv.org/abs/\1)", _capital(work)) for work in works]


def one_line(text: str) -> str:
    """Return the text without line breaks."""
    return " ".join(text.split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

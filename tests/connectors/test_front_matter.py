"""Front matter in YAML, TOML and JSON, and the headings below it."""

import pytest

from connectors.parsers.markdown import MarkdownParser
from rag.errors import NoText
from rag.types import Document


def parse(text: str) -> Document:
    return MarkdownParser().parse(text.encode(), uri="file:///notes/a.md")


def list_headings(document: Document) -> list[tuple[tuple[str, ...], str]]:
    """The heading paths, each with the first line of its section."""
    return [
        (mark.value, document.text[mark.start : mark.end].splitlines()[0])
        for mark in document.marks
        if mark.kind == "heading"
    ]


YAML = "---\ntitle: The pump\ndate: 2024-05-01\ndraft: false\ntags: [a, b]\nweight: 3\n---\n"
TOML = '+++\ntitle = "The pump"\ndate = 2024-05-01\ndraft = false\ntags = ["a", "b"]\nweight = 3\n+++\n'
JSON = (
    '{\n  "title": "The pump",\n  "date": "2024-05-01",\n  "draft": false,\n'
    '  "tags": ["a", "b"],\n  "weight": 3\n}\n\n'
)


@pytest.mark.parametrize("block", [YAML, TOML, JSON], ids=["yaml", "toml", "json"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_front_matter_is_title_and_typed_metadata(block: str, line_end: str) -> None:
    document = parse((block + "# Body\n\nIt pumps.\n").replace("\n", line_end))
    assert document.title == "The pump"
    assert document.metadata == {
        "date": "2024-05-01",
        "draft": False,
        "tags": ("a", "b"),
        "weight": 3,
    }
    assert document.text == "# Body\n\nIt pumps.\n".replace("\n", line_end)
    assert list_headings(document) == [(("Body",), "# Body")]


def test_tables_of_toml_are_dotted_names() -> None:
    document = parse(
        '+++\ntitle = "x y"\n[params]\nauthor = "Ann"\nat = 2024-05-01T10:00:00Z\n+++\nText.\n'
    )
    assert document.metadata == {
        "params.author": "Ann",
        "params.at": "2024-05-01T10:00:00+00:00",
    }


@pytest.mark.parametrize(
    "text",
    [
        "+++\nnot toml at all\n+++\n\nText.\n",
        "+++\ntitle = 'no end'\n\nText.\n",
        "{\n not json\n}\n\nText.\n",
        '{"a": 1} is an object of JSON.\n\nText.\n',
        '{"a": 1}\nText.\n',
        "{{< shortcode >}}\n\nText.\n",
        "[1, 2]\n\nText.\n",
        "Text.\n\n+++\ntitle = 'x'\n+++\n",
        "{}\n\nText.\n",
    ],
)
def test_other_text_stays_text(text: str) -> None:
    document = parse(text)
    assert document.text == text
    assert document.metadata == {}


def test_front_matter_alone_is_no_text() -> None:
    for block in (TOML, JSON):
        with pytest.raises(NoText):
            parse(block)


def test_long_front_matter_is_text() -> None:
    text = '+++\na = "' + "word " * 5_000 + '"\n+++\nText.\n'
    assert parse(text).text == text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_headings_of_both_kinds(line_end: str) -> None:
    text = (
        "The title\n=========\n\nText.\n\n"
        "A section\n-\n\nText.\n\n"
        "### Deep ###\n\nText.\n\n"
        "   ## Indented\n\nText.\n\n"
        "## With an id {#pump .big}\n\nText.\n\n"
        "Under\n---------------------------------\n\n"
        "# C# and {braces}\n\n"
        "    # code, not a heading\n\n"
        "#no heading\n\n"
        "####### no heading\n\n"
        "## `Code` and *stress* #\n"
    ).replace("\n", line_end)
    assert list_headings(parse(text)) == [
        (("The title",), "The title"),
        (("The title", "A section"), "A section"),
        (("The title", "A section", "Deep"), "### Deep ###"),
        (("The title", "Indented"), "   ## Indented"),
        (("The title", "With an id"), "## With an id {#pump .big}"),
        (("The title", "Under"), "Under"),
        (("C# and {braces}",), "# C# and {braces}"),
        (("C# and {braces}", "Code and stress"), "## `Code` and *stress* #"),
    ]


@pytest.mark.parametrize("attributes", ["{#id}", "{: #id}", "{.unnumbered}", "{-}", '{key="a b"}'])
def test_attributes_are_not_in_the_heading(attributes: str) -> None:
    assert list_headings(parse(f"# Pump {attributes}\n"))[0][0] == ("Pump",)
    assert list_headings(parse(f"Pump {attributes}\n====\n"))[0][0] == ("Pump",)


@pytest.mark.parametrize(
    ("block", "title", "metadata"),
    [
        (
            '---\ntitle: Plan: the second\ntags: [a, b\nauthor: "Ann\n---\n',
            "Plan: the second",
            {"tags": "[a, b", "author": "Ann"},
        ),
        (
            "---\n# made by hand\ntitle: A\nsummary: @home\n  in two lines\nby:\n  - Ann\n  - Bo\n---\n",
            "A",
            {"summary": "@home in two lines", "by": "Ann Bo"},
        ),
        ('+++\ntitle = "The pump\nby = Ann\n+++\n', "The pump", {"by": "Ann"}),
        ("---\ntitle: A\n\ttags: x\n---\n", "A tags: x", {}),
    ],
)
def test_front_matter_that_is_not_valid_is_read_by_line(
    block: str, title: str, metadata: dict[str, str]
) -> None:
    document = parse(block + "# Body\n\nText.\n")
    assert document.title == title
    assert document.metadata == metadata
    assert document.text == "# Body\n\nText.\n"
    assert list_headings(document) == [(("Body",), "# Body")]


def test_a_rule_and_an_underlined_heading_are_no_front_matter() -> None:
    text = "---\nOur plan for the year\n---\n\nText.\n"
    assert parse(text).text == text

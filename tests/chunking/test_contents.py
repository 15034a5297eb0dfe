"""Tables of contents are found, and are no answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import Pipeline
from rag.chunking.contents import find_contents

BODY = """
{h}Safety

Unplug the device before it is opened.

{h}Cleaning the filter

Rinse it under warm water once a month.

{h}Replacing the battery

Use only two cells of the type CR2032.
"""
PLAIN = BODY.format(h="")
NUMBERED = BODY.replace("{h}S", "1 S").replace("{h}C", "2 C").replace("{h}R", "3 R")
MARKDOWN = BODY.format(h="## ")


def list_contents(text: str) -> list[str]:
    return [text[mark.start : mark.end] for mark in find_contents(text)]


@pytest.mark.parametrize(
    ("contents", "body"),
    [
        ("Safety ........ 3\nCleaning the filter .... 5\nReplacing the battery . . . . 8", PLAIN),
        ("1 Safety ....3\n2 Cleaning the filter ....5\n3 Replacing the battery ....8", NUMBERED),
        ("1. Safety\t3\n2. Cleaning the filter\t5\n3. Replacing the battery\t8", PLAIN),
        ("Safety 3\n\nCleaning the filter 5\n\nReplacing the battery 8", MARKDOWN),
        ("Safety…3\nCleaning the\nfilter…5\nReplacing the battery…8", PLAIN),
        (
            "Version of 1 May 2025\n\nSafety 3\nCleaning the filter 5\nReplacing the battery 8",
            PLAIN,
        ),
        ("Safety iii\nCleaning the filter iv\nReplacing the battery 1", PLAIN),
        (
            "- [Safety](#safety)\n- [Cleaning the filter](#f)\n  * [Replacing the battery](#b)",
            MARKDOWN,
        ),
        (
            "| 1 | Safety | 3 |\n| --- | --- | --- |\n| 2 | Cleaning the filter | 5 |\n| 3 | Replacing the battery | 8 |",
            NUMBERED,
        ),
        (
            "| Section | Page |\n| --- | --- |\n| Safety | 3 |\n| Cleaning the filter | 5 |\n| Replacing the battery | 8 |",
            MARKDOWN,
        ),
    ],
)
def test_entries_that_repeat_headings_are_contents(contents: str, body: str) -> None:
    text = f"The user manual of the device.\n\nContents\n\n{contents}\n\n{body}"
    (contents_text,) = list_contents(text)
    assert contents_text.endswith(contents.rpartition("\n\n")[2])
    assert "manual" not in contents_text
    assert "Unplug" not in contents_text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Safety 3",
        f"Safety 3\nCleaning the filter 5\n\n{PLAIN}",  # two entries
        f"Safety 8\nCleaning the filter 5\nReplacing the battery 3\n\n{PLAIN}",  # no order
        f"Pumps 3\nFans 5\nHeaters 8\n\n{PLAIN}",  # no headings
        f"Safety 390\nCleaning the filter 450\nReplacing the battery 520\n\n{PLAIN}",  # prices
        "| Part | Price |\n| --- | --- |\n| Safety | 3 |\n| Cleaning the filter | 5 |\n"
        f"| Replacing the battery | 8 |\n\n{MARKDOWN}",
        "Safety: 3 steps.\nCleaning the filter: 5 steps.\nReplacing the battery: 8 steps.\n"
        + PLAIN,
        "- [Safety](https://example.org/#a)\n- [Cleaning the filter](b.md)\n- [Replacing the battery](c.md)\n"
        + MARKDOWN,
    ],
)
def test_other_lines_are_no_contents(text: str) -> None:
    assert list_contents(text) == []


@pytest.mark.parametrize("suffix", [".txt", ".md"])
def test_an_entry_is_no_answer(pipeline: Pipeline, tmp_path: Path, suffix: str) -> None:
    heads = {".txt": "{n} {h} ......... {p}", ".md": "- [{h}](#{n})"}[suffix]
    titles = ("Safety", "Cleaning the filter", "Replacing the battery")
    entries = [heads.format(n=n, h=h, p=2 * n) for n, h in enumerate(titles, start=1)]
    body = NUMBERED if suffix == ".txt" else MARKDOWN
    text = "# Manual\n\n" * (suffix == ".md") + "Contents\n\n" + "\n".join(entries) + f"\n\n{body}"
    (tmp_path / f"manual{suffix}").write_text(text, encoding="utf-8")
    pipeline.ingest(tmp_path)
    answer = pipeline.ask("How is the filter cleaned?")
    assert [c.quote for c in answer.citations] == ["Rinse it under warm water once a month."]

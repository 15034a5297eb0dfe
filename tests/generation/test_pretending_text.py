"""What states something must be supported, however it is dressed up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.generation.claims import find_prose, says_something_new
from rag.generation.foreign_markers import normalize_markers
from rag.text.tokenization import content_stems
from tests.generation.samples import PASSAGE_TEXTS, QUESTION, run_generator

LIE = "The battery explodes after three flights"
TRUE = "The battery lasts 34 minutes in calm air [1]."
TAGS = "".join(chr(0xE0000 + ord(c)) for c in "The battery explodes")
KNOWN = frozenset(stem for text in (*PASSAGE_TEXTS, QUESTION) for stem in content_stems(text))

DRESSED = {
    "a heading": f"# {LIE}\n\n{TRUE}",
    "an underlined heading": f"{LIE}\n=====\n\n{TRUE}",
    "a bold line": f"**{LIE}**\n\n{TRUE}",
    "a question": f"Did you know that the battery explodes after three flights? {TRUE}",
    "a denial": f"I cannot tell you that the battery explodes after three flights. {TRUE}",
    "an open fence": f"{TRUE}\n\n```\n{LIE}.\n",
    "a fence": f"{TRUE}\n\n```text\n{LIE}.\n```\n",
    "a fence of tildes": f"{TRUE}\n\n~~~\n{LIE}.\n~~~\n",
    "a quoted fence": f"{TRUE}\n\n> ```\n> {LIE}.\n> ```\n",
    "a table head": f"| {LIE} | time |\n|---|---|\n| battery | 34 minutes [1] |\n",
    "a lead-in": f"{LIE}:\n- {TRUE}",
    "an item": f"- {LIE}\n- {TRUE}",
    "single quotes": f"{TRUE} '{LIE}.'",
    "typographic quotes": f"{TRUE} ‘{LIE}.’",
    "corner brackets": f"{TRUE} 「{LIE}.」",
    "angle quotes": f"{TRUE} ‹{LIE}.›",
    "wide quotes": f"{TRUE} ＂{LIE}.＂",
    "parentheses": f"({LIE}.) {TRUE}",
    "a quotation block": f"> {LIE}.\n\n{TRUE}",
    "markup": f"<b>{LIE}</b>. {TRUE}",
    "a heading without an article": f"## Batteries explode without warning\n\n{TRUE}",
    "a heading with a time": f"## The battery explodes when the llama touches it\n\n{TRUE}",
    "a heading about many": f"## The batteries explode without warning\n\n{TRUE}",
    "a tag question": f"The battery explodes after three flights, right? {TRUE}",
    "a negative question": f"Isn't it sad that the battery explodes after three flights? {TRUE}",
    "a memory": f"Remember when the battery exploded after three flights? {TRUE}",
    "a verb and a tag": f"The battery explodes after three flights, doesn't it? {TRUE}",
    "an order": f"Remember: the battery explodes after three flights. {TRUE}",
    "a note": f"{TRUE}\n\n[^2]: {LIE}.",
    "a task": f"- [ ] {LIE}\n\n{TRUE}",
    "a formula": f"$$\\text{{{LIE}}}$$\n\n{TRUE}",
    "zero-width spaces": f"{TRUE} The\u200b battery\u200b explodes after three flights.",
}


DRESSED |= {
    f"{place} with {dress}": form.format(lie=lie, true=TRUE)
    for place, form in {
        "a heading": "## {lie}\n\n{true}",
        "a table head": "| {lie} | x |\n|---|---|\n| battery | 34 minutes [1] |\n\n{true}",
        "a lead-in": "{lie}:\n\n- {true}",
        "a question": "Did you know that {lie}? {true}",
        "a fence": "```\n{lie}.\n```\n\n{true}",
    }.items()
    for dress, lie in {
        "emphasis": "The **battery** explodes after three flights",
        "underscores": "The battery _explodes_ after three flights",
        "code": "The battery `explodes` after three flights",
        "a comma": "The battery, explodes after three flights",
        "parentheses": "The battery (explodes) after three flights",
        "quotation marks": "The “battery” explodes after three flights",
        "wide letters": "The ｂａｔｔｅｒｙ explodes after three flights",
        "a line through": "The ~~battery~~ explodes after three flights",
    }.items()
} | {
    f"a fence with {mark}": f"```\n{mark} The battery explodes after three flights.\n```\n\n{TRUE}"
    for mark in ("-", "*", "1.", '"', "(", "**", "⚠️")
}
DRESSED["a short fence"] = f"```\nThe battery explodes.\n```\n\n{TRUE}"


@pytest.mark.parametrize("text", ["Ⓣⓗⓔ ⓑⓐⓣⓣⓔⓡⓨ ⓔⓧⓟⓛⓞⓓⓔⓢ.", "🆃🅷🅴 🅱🅰🆃🆃🅴🆁🆈 🅱🆄🆁🅽🆂.", "⠞⠓⠑⠀⠃⠁⠞⠞⠑⠗⠽."])
@pytest.mark.parametrize("form", ["{} {}", "## {1}\n\n{0}", "{0}\n\n{1}"])
def test_signs_that_look_like_letters_are_no_decoration(text: str, form: str) -> None:
    draft = form.format(TRUE, text)
    dropped, _ = run_generator(draft, unsupported="drop")
    assert text[:3] not in dropped.text and "34 minutes" in dropped.text
    flagged, _ = run_generator(draft, unsupported="flag")
    assert any(
        text[:3] in flagged.text[s.start : s.end] for s in flagged.sentences if s.is_rejected
    )


def test_flags_and_ratings_are_decoration() -> None:
    answer, _ = run_generator(f"{TRUE}\n\n🇩🇪 🇫🇷\n\n⭐⭐⭐⭐⭐\n", unsupported="drop")
    assert "🇩🇪 🇫🇷" in answer.text and "⭐" in answer.text


def test_thousands_of_superscript_digits_are_no_marker() -> None:
    for live in (False, True):
        answer, _ = run_generator(f"{TRUE} {'¹' * 5_000}", live=live)
        assert "34 minutes" in answer.text


@pytest.mark.parametrize(
    "unit", ["It was not. ", "`a b` lasts. ", "The battery lasts 34 minutes. "]
)
def test_the_steps_of_a_stream_grow_with_its_text(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def count(text: str, *arguments: Any, **options: Any) -> str:
        nonlocal read
        read += len(text)
        return normalize_markers(text, *arguments, **options)

    monkeypatch.setattr("rag.generation.citations.normalize_markers", count)
    characters = []
    for size in (4_000, 8_000):
        read = 0
        run_generator(unit * (size // len(unit)), live=True, unsupported="drop")
        characters.append(read)
    assert characters[1] < 2.5 * characters[0]


@pytest.mark.parametrize("live", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("draft", DRESSED.values(), ids=DRESSED.keys())
def test_with_drop_no_lie_stays(draft: str, live: bool) -> None:
    answer, _ = run_generator(draft, live=live, unsupported="drop")
    assert "explode" not in answer.text.lower()
    assert answer.status == "abstained" or "34 minutes" in answer.text


@pytest.mark.parametrize(
    "name", ["a heading", "a question", "a denial", "a fence", "an open fence", "a lead-in"]
)
def test_with_flag_a_lie_is_flagged(name: str) -> None:
    answer, _ = run_generator(DRESSED[name], unsupported="flag")
    rejected = [answer.text[s.start : s.end] for s in answer.sentences if s.is_rejected]
    assert any("explodes" in text for text in rejected)


def test_characters_that_nobody_sees_are_not_kept() -> None:
    answer, _ = run_generator(f"The battery{TAGS} lasts\u2060 34\u202e minutes [1].")
    assert answer.text == "The battery lasts 34 minutes [1]."


HARMLESS = [
    "## Battery",
    "## Key features and further details",
    "# How to take care of your drone",
    "## Maintenance and safety recommendations for pilots",
    "## Frequently asked questions about charging times",
    "## Wartung und Pflege Ihrer Drohne",
    "## 电池使用说明与注意事项",
    "**Important note about everyday handling:**",
    "### Step 1: Prepare everything you need before takeoff",
    "Here is what the sources say about the battery:",
    "The manual lists the following technical specifications:",
    "Let me walk you through it step by step:",
    "Hier sind die wichtigsten Punkte zusammengefasst:",
    "Voici les informations trouvées dans les documents :",
    "| Component | Lifetime | Manufacturer | Warranty |",
    "| Eigenschaft | Wert | Bemerkung | Quelle |",
    "Would you like more information?",
    "Which firmware version and model year are you using?",
    "Kann ich Ihnen sonst noch behilflich sein?",
    "Avez-vous d'autres questions à ce sujet ?",
    "In short:",
    "How long does the battery last in frost?",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_names_something_needs_no_support(text: str) -> None:
    assert not says_something_new(text, KNOWN)


@pytest.mark.parametrize(
    "refusal",
    [
        "The documents do not say that the warranty covers water damage.",
        "I could not find that the manufacturer offers warranty extensions.",
        "The sources do not mention that rain damages the motors.",
        "The passages do not mention the marathon of the chairwoman.",
    ],
)
def test_a_refusal_is_one_whatever_its_words(refusal: str) -> None:
    answer, _ = run_generator(f"{TRUE} {refusal}", unsupported="drop")
    assert refusal in answer.text


CODE = [
    ("sudo apt update\nsudo apt install kite\ncd /opt/kite\n./run.sh --verbose --force", "sh"),
    ("git clone https://example.com/kite.git\ncd kite\nmake install", ""),
    ("port: 8080\ntimeout: 30\nname: kite server\nhosts:\n  - alpha\n  - beta", "yaml"),
    ('[\n "alpha",\n "beta",\n "gamma",\n "delta"\n]', "json"),
    ("SELECT name, age FROM users ORDER BY age", "sql"),
    ("SELECT name FROM parts WHERE id = 3;", ""),
    ("def f(items):\n    for item in items:\n        yield item", "python"),
    ('class A:\n    """Holds the state of the vehicle."""\n    x = 1', "python"),
    ("FROM python\nCOPY requirements app\nRUN pip install kite", "dockerfile"),
    ("2026-01-01 12:00:00 ERROR the motor failed to start", ""),
    ("battery = Battery(34)\nprint(battery)", ""),
    ("# The battery explodes soon\nx = 1", ""),
    ("pip install citewell", ""),
    ("one two", ""),
    ("", ""),
]


@pytest.mark.parametrize(("code", "tag"), CODE)
def test_code_is_no_prose(code: str, tag: str) -> None:
    assert find_prose(code, tag) == ""


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        ("the battery explodes after three flights\n", ""),
        ("The battery explodes soon.", "python"),
        ("> The battery explodes soon.\n> So it is.\n", ""),
        ("x = 1\nThe battery explodes soon.\ny = 2", ""),
        ("The battery explodes soon.;", ""),
        ("# The battery explodes soon.", ""),
        ("", "The battery explodes after three flights"),
    ],
)
def test_prose_in_a_fence_is_found(code: str, tag: str) -> None:
    assert "battery explodes" in find_prose(code, tag)


def test_code_in_a_fence_is_kept() -> None:
    code = "```python\nbattery = Battery(34)\n```"
    answer, _ = run_generator(f"{TRUE}\n\n{code}", unsupported="drop")
    assert code in answer.text


def test_supported_prose_in_a_fence_is_kept() -> None:
    block = "```\nThe battery lasts 34 minutes in calm air.\n```"
    answer, _ = run_generator(f"{TRUE}\n\n{block}", unsupported="drop")
    assert block in answer.text


@given(st.lists(st.sampled_from(["```\n", "~~~\n", f"{LIE}.\n", "x = 1\n", TRUE + "\n", "> "])))
def test_any_order_of_fences_and_lies_keeps_no_lie(parts: list[str]) -> None:
    answer, _ = run_generator("".join(parts) or TRUE, unsupported="drop")
    assert "explode" not in answer.text.lower()

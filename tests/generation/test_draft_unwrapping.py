"""Fences around a whole answer and lists of references below it are taken off."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.generation.draft_unwrapping import DraftUnwrapper
from rag.generation.passages import Passage
from tests.generation.samples import run_generator

ANSWER = "The battery lasts 34 minutes [1]."
PASSAGES = [
    Passage(1, "file:///docs/kite%20manual.md", 0, 9, "A battery.", "Kite 4", ("Power",), {}, 1.0)
]
WITH_REFERENCES = [
    f"{ANSWER}\n\nReferences: kite manual.md",
    f"{ANSWER}\n\n**Sources:**\n- Kite 4, docs/kite manual.md",
    f"{ANSWER}\n\n## References\n\n1. Kite 4\n2. Power (https://example.org/x)\n",
    f"{ANSWER}\n\nSources:\n[1] Kite 4\n[2] kite manual.md, page 3",
    f"{ANSWER}\n\n---\n*Sources*:\n* Passage 1",
    f"{ANSWER}\n\nSource: [1]",
    f"{ANSWER}\nSource:",
    f"{ANSWER}\n\n[1]: Kite 4",
    f"{ANSWER}\n\n[^1]: kite manual.md\n[^2]: Kite 4",
    f"{ANSWER}\n\nQuellen:\n- Kite 4",
]
FENCED = [
    f"```\n{ANSWER}\n```",
    f"```markdown\n{ANSWER}\n```\n",
    f"\n~~~text\n{ANSWER}\n~~~",
    f"````md\n{ANSWER}\n````",
    f"```markdown\n{ANSWER}\n\nSources:\n- Kite 4\n```",
]
LABELLED = [
    f"Answer: {ANSWER}",
    f"**Answer:** {ANSWER}",
    f"Final answer: {ANSWER}",
    f"Q: How long does it last?\nA: {ANSWER}",
    f"**Question:** How long?\n\n**Answer:**\n{ANSWER}",
    f"问题：多久？\n答案：{ANSWER}",
    f"Antwort: {ANSWER}",
    f"Answer:\n```markdown\n{ANSWER}\n```",
]
NESTED = "Use this:\n\n```bash\nls\n```\n\nThen stop [1]."
KEPT = [
    "```sh\nrag ingest docs\n```",
    "```\nrag ingest docs\n```",
    f"```\n{ANSWER}\n```\nAnd then more.\n```\ncode\n```",
    f"{ANSWER}\n\nSources: the battery is charged by the sun in Peru.",
    f"{ANSWER}\n\nSources of error are wind and cold.",
    f"{ANSWER}\n\n## Sources\n\nThe pump takes water from two sources in the hills above the town.",
    f"References: Kite 4\n\n{ANSWER}",
    f"{ANSWER}\n\n---\n\nMore.",
    "A: the pump. B: the valve.",
    "Q: How long does it last?",
    "Answer:",
    "Answering takes long. Answer: no.",
    "Question: is it 34 minutes?\nThen ask again.",
    "Source",
    "- a\n- b",
    "According to passage [1]: Hotels may cost up to 140 euros. It is in the Travel policy.",
    "Hotels may cost 140 euros, as stated in source: Kite 4, page 1 [3].",
    "It cites two sources",
    "The price (see Sources: Kite 4) is 20 euros.",
    "(Source: kite manual.md)",
    "Sources: kite manual.md and Power describe what it costs [1].",
    "References: Ask the Power team for two letters [1].",
    "Source: https://example.org/source.zip [1]",
    f"{ANSWER}\n\nCitation:\nPower costs 20 euros [1].",
]


def unwrap(draft: str, cuts: list[int] | None = None) -> str:
    bounds = sorted({0, *(cut % (len(draft) + 1) for cut in cuts or ()), len(draft)})
    unwrapper = DraftUnwrapper(PASSAGES)
    pieces = [unwrapper.feed(draft[i:j]) for i, j in zip(bounds, bounds[1:], strict=False)]
    return "".join(pieces) + unwrapper.feed("", is_last=True)


@pytest.mark.parametrize("draft", [*WITH_REFERENCES, *FENCED, *LABELLED])
def test_only_the_answer_is_left(draft: str) -> None:
    assert unwrap(draft).strip() == ANSWER


@pytest.mark.parametrize("draft", KEPT)
def test_what_is_no_wrapping_is_kept(draft: str) -> None:
    assert unwrap(draft) == draft


lines = st.sampled_from(
    ["```", "```md", "~~~", "Sources:", "## References", "- Kite 4", "1. Kite 4", "[1]: Kite 4",
     "[^1]: x", "---", "", " ", "**Source:** Kite 4", ANSWER, "Answer: ", "Q: x", "A: y", "rag ask", "Sources of error", "S", "["]
)  # fmt: skip


def test_a_fence_within_the_fence_is_kept() -> None:
    assert unwrap(f"```markdown\n{NESTED}\n```") == NESTED


@pytest.mark.parametrize(
    "draft",
    [
        *KEPT,
        *WITH_REFERENCES,
        *FENCED,
        *LABELLED,
        NESTED,
        f"```markdown\n{NESTED}\n```",
        f"```md\n{NESTED}",
    ],
)
def test_every_cut_gives_the_same(draft: str) -> None:
    whole = unwrap(draft)
    assert unwrap(draft, list(range(len(draft)))) == whole
    for cut in range(len(draft)):
        assert unwrap(draft, [cut]) == whole


@given(st.lists(lines, max_size=8).map("\n".join), st.lists(st.integers(0, 300), max_size=20))
def test_the_result_does_not_depend_on_the_pieces(draft: str, cuts: list[int]) -> None:
    assert unwrap(draft, cuts) == unwrap(draft)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("draft", [FENCED[0], FENCED[1], f"{ANSWER}\n\nReferences: passage 1"])
def test_the_answer_of_a_model_is_checked_without_its_wrapping(draft: str, live: bool) -> None:
    answer, _ = run_generator(draft, live=live)
    assert answer.text == ANSWER
    assert [sentence.status for sentence in answer.sentences] == ["supported"]


def test_long_drafts_take_no_long_time() -> None:
    for draft in ("Sources:\n" + "- Kite 4\n" * 3_000, "S" * 50_000, "```\n" * 5_000, "[" * 50_000):
        unwrap(draft)


ENDLESS = [
    ["\n"],
    ["\n", " "],
    [" \n"],
    ["---\n"],
    ["[1]: [1]\n"],
    ["- \n"],
    ["---\n\n"],
    ["Sources:\n"],
]


def count_calls(pieces: list[str]) -> int:
    """Return how many functions are called while a draft is unwrapped."""
    unwrapper = DraftUnwrapper(PASSAGES)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for piece in pieces:
            unwrapper.feed(piece)
        unwrapper.feed("", is_last=True)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("unit", ENDLESS)
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_draft_that_repeats_itself_takes_steps_in_proportion(
    unit: list[str], is_whole: bool
) -> None:
    """A small model may print line breaks until its limit."""

    def count(repeats: int) -> int:
        pieces = [ANSWER, "\n", *unit * repeats]
        return count_calls(["".join(pieces)] if is_whole else pieces)

    assert count(1_600) < 2.5 * count(800) + 1_000


@pytest.mark.parametrize("line_break", ["\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_line_breaks_of_other_systems_are_one(line_break: str, size: int) -> None:
    text = f"{ANSWER}\n\nIt is light.".replace("\n", line_break)
    unwrapper = DraftUnwrapper(PASSAGES)
    parts = [unwrapper.feed(text[i : i + size]) for i in range(0, len(text), size)]
    assert "".join([*parts, unwrapper.feed("", is_last=True)]) == f"{ANSWER}\n\nIt is light."

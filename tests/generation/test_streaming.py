"""Streaming: the checked text does not depend on how a draft is cut into pieces."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rag import CitationAdded, SentenceVerified, TextDelta
from rag.generation.citations import CitationWriter, CitedText
from tests.generation.samples import PASSAGES, VERIFIER

DRAFT_PIECES = [
    *"The battery lasts 34 minutes| [1]| [2, 7]|[1-3]|. |.\n|\n\n|\n|- |Nylon!| [|]|[x]|".split(
        "|"
    ),
    *"`a. b`|`|| a | b |\n|---|---|\n|? |: |  |> |\r\n|!|*bold*|–|1. one\n|【1】".split("||"),
    *"# Head\n~```\ncode [1]\n```\n~```py\n~e.g. this~Dr. Who~etc. ~ 3.14~电池续航。~「是」。".split(
        "~"
    ),
    "~~~\n",
    "| a | b |\n",
    "|---|---|\n",
    "| propellers | nylon |\n",
    "a | b\n---|---\nc | d\n",
    "https://evil.example/x?y=1 ",
    "www.evil.example",
    "[link](http://evil.example)",
    "![i](http://evil.example/a.png)",
    "<img src=x>",
    "The propellers are made of nylon",
    "Never charge in frost.",
    " I don't know.",
    *(
        " (1)",
        " (Source 1",
        ")",
        " [Doc 2]",
        "¹",
        "²,³",
        "<sup>1</sup>",
        " \\[1\\]",
        " [1 and ",
        "2]",
    ),
    *("Passage 1 says that ", "According to source 2, ", "(1) open", " 10 m²", "(", "{cite: 1}"),
    '"Replace them after 50 hours of flight."',
]
DRAFTS = st.lists(st.sampled_from(DRAFT_PIECES), max_size=14).map("".join)


def write_draft(draft: str, cuts: list[int], **options: bool) -> tuple[CitedText, str]:
    """Feed a draft in pieces; return the result and the concatenated text of the events."""
    writer = CitationWriter(PASSAGES, VERIFIER, **options)
    events = []
    bounds = [0, *sorted(cut for cut in cuts if cut <= len(draft)), len(draft)]
    for start, end in zip(bounds, bounds[1:], strict=False):
        events += writer.feed(draft[start:end])
    events += writer.finish()
    result = writer.result
    sentences = [event.sentence for event in events if isinstance(event, SentenceVerified)]
    citations = [event.citation for event in events if isinstance(event, CitationAdded)]
    assert tuple(sentences) == result.sentences
    assert tuple(citations) == result.citations
    return result, "".join(event.text for event in events if isinstance(event, TextDelta))


@settings(max_examples=150)
@given(DRAFTS, st.lists(st.integers(0, 300), max_size=40), st.booleans())
def test_result_does_not_depend_on_the_pieces(draft: str, cuts: list[int], drop: bool) -> None:
    result_at_once, text = write_draft(draft, [], drop=drop)
    assert text == result_at_once.text
    for live in (False, True) if not drop else (False,):
        pieces, text = write_draft(draft, cuts, drop=drop, live=live)
        assert pieces == result_at_once
        assert text == result_at_once.text


@settings(max_examples=150)
@given(DRAFTS)
def test_draft_in_single_characters(draft: str) -> None:
    all_cuts = list(range(1, len(draft)))
    assert write_draft(draft, all_cuts, live=True) == write_draft(draft, [], live=False)


@given(DRAFTS)
def test_drop_removes_exactly_the_unsupported_sentences(draft: str) -> None:
    flagged, _ = write_draft(draft, [])
    dropped, _ = write_draft(draft, [], drop=True)
    assert not any(sentence.is_rejected for sentence in dropped.sentences)
    failing = sum(sentence.is_rejected for sentence in flagged.sentences)
    assert len(dropped.dropped) == failing
    assert len(dropped.sentences) == len(flagged.sentences) - failing


def test_words_are_streamed_at_once_and_markers_after_the_check() -> None:
    writer = CitationWriter(PASSAGES, VERIFIER, live=True)
    streamed_texts = []
    for piece in (
        "The batt",
        "ery lasts 34 min",
        "utes [",
        "9",
        "]. ",
        "Charging it takes a while ",
    ):
        streamed_texts.append(
            "".join(e.text for e in writer.feed(piece) if isinstance(e, TextDelta))
        )
    assert streamed_texts == [
        "The",
        " battery lasts 34",
        " minutes",
        "",
        "",
        ". [1] Charging it takes a",
    ]


def test_dropped_list_item_leaves_no_gap() -> None:
    draft = (
        "Two things:\n\n- The battery lasts 34 minutes [1]\n- Llamas fly in Peru [1]\n"
        "- Charging takes 90 minutes [1]\n\nNever charge in frost [1]."
    )
    result, _ = write_draft(draft, [], drop=True)
    assert result.text == draft.replace("- Llamas fly in Peru [1]\n", "")
    assert result.dropped == ("- Llamas fly in Peru [1]",)

"""A draft is checked to the same end however it comes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rag import CitationAdded, SentenceVerified, TextDelta
from rag.generation.citations import CitationWriter, CitedText
from tests.generation.test_citations import PASSAGES, VERIFIER

PIECES = [
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
    '"Replace them after 50 hours of flight."',
]
DRAFTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


def written(draft: str, cuts: list[int], **options: bool) -> tuple[CitedText, str]:
    """What a writer made of a draft that came in pieces, and the text of its events."""
    writer = CitationWriter(PASSAGES, VERIFIER, **options)
    told = []
    places = [0, *sorted(cut for cut in cuts if cut <= len(draft)), len(draft)]
    for start, end in zip(places, places[1:], strict=False):
        told += writer.feed(draft[start:end])
    told += writer.finish()
    result = writer.result
    sentences = [e.sentence for e in told if isinstance(e, SentenceVerified)]
    citations = [e.citation for e in told if isinstance(e, CitationAdded)]
    assert tuple(sentences) == result.sentences
    assert tuple(citations) == result.citations
    return result, "".join(event.text for event in told if isinstance(event, TextDelta))


@settings(max_examples=150)
@given(DRAFTS, st.lists(st.integers(0, 300), max_size=40), st.booleans())
def test_pieces_make_no_difference(draft: str, cuts: list[int], drop: bool) -> None:
    whole, text = written(draft, [], drop=drop)
    assert text == whole.text
    for live in (False, True) if not drop else (False,):
        pieces, text = written(draft, cuts, drop=drop, live=live)
        assert pieces == whole
        assert text == whole.text


@settings(max_examples=150)
@given(DRAFTS)
def test_one_character_at_a_time(draft: str) -> None:
    every = list(range(1, len(draft)))
    assert written(draft, every, live=True) == written(draft, [], live=False)


@given(DRAFTS)
def test_what_is_dropped_is_what_is_not_supported(draft: str) -> None:
    flagged, _ = written(draft, [])
    dropped, _ = written(draft, [], drop=True)
    assert all(sentence.status != "unsupported" for sentence in dropped.sentences)
    failing = sum(sentence.status == "unsupported" for sentence in flagged.sentences)
    assert len(dropped.dropped) == failing
    assert len(dropped.sentences) == len(flagged.sentences) - failing


def test_words_come_at_once_and_markers_when_their_sentence_is_checked() -> None:
    writer = CitationWriter(PASSAGES, VERIFIER, live=True)
    shown = []
    for piece in (
        "The batt",
        "ery lasts 34 min",
        "utes [",
        "9",
        "]. ",
        "Charging it takes a while ",
    ):
        shown.append("".join(e.text for e in writer.feed(piece) if isinstance(e, TextDelta)))
    assert shown == ["The", " battery lasts 34", " minutes", "", "", ". [1] Charging it takes a"]


def test_a_dropped_item_leaves_no_hole_in_a_list() -> None:
    draft = (
        "Two things:\n\n- The battery lasts 34 minutes [1]\n- Llamas fly in Peru [1]\n"
        "- Charging takes 90 minutes [1]\n\nNever charge in frost [1]."
    )
    kept, _ = written(draft, [], drop=True)
    assert kept.text == draft.replace("- Llamas fly in Peru [1]\n", "")
    assert kept.dropped == ("- Llamas fly in Peru [1]",)

"""Passages, hits and drafts that the tests of generation share."""

from typing import Any

from rag import Answer, AnswerCompleted, GroundedGenerator, LexicalVerifier, ScriptedChat, TextDelta
from rag.generation import Passage
from rag.types import Chunk, Hit

VERIFIER = LexicalVerifier()
PASSAGE_TEXTS = [
    "The battery lasts 34 minutes. Charging takes 90 minutes. Never charge in frost.",
    "The propellers are made of nylon. Replace them after 50 hours of flight.",
]
PASSAGES = [
    Passage(
        number=number,
        uri=f"doc{number}",
        start=100 * number,
        end=100 * number + len(text),
        text=text,
        title=f"T{number}",
        headings=(),
        location={"page": number},
        score=1.0,
    )
    for number, text in enumerate(PASSAGE_TEXTS, start=1)
]

QUESTION = "How long does the battery last?"
SUPPORTED = "The battery lasts 34 minutes [1]."
UNSUPPORTED = "It was invented by llamas in Peru [2]."
MIXED = f"{SUPPORTED} {UNSUPPORTED}"


def make_hit(uri: str, start: int, text: str, score: float = 1.0) -> Hit:
    chunk = Chunk(id=f"{uri}{start}", uri=uri, start=start, end=start + len(text), text=text)
    return Hit(chunk=chunk, score=score)


HITS = [
    make_hit("battery", 100, "The battery lasts 34 minutes. Charging takes 90 minutes."),
    make_hit(
        "propeller", 0, "The propellers are made of nylon. Replace them after 50 hours of flight."
    ),
]


def run_generator(*replies: str, live: bool = False, **options: Any) -> tuple[Answer, ScriptedChat]:
    """Answer `QUESTION` from `HITS` with scripted replies; with `live`, as a stream.

    Without the option `fallback`, a rejected draft gives an abstention.
    """
    chat = ScriptedChat(replies=replies)
    generator = GroundedGenerator(model=chat, **{"fallback": None} | options)
    if not live:
        return generator.answer(QUESTION, HITS), chat
    *events, completed = generator.stream(QUESTION, HITS)
    assert isinstance(completed, AnswerCompleted)
    if not completed.answer.reason:
        streamed_text = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert streamed_text == completed.answer.text
    return completed.answer, chat

"""Sample data of the contracts: hostile texts, documents, a token counter and an index."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from connectors import Connector, Source
from rag.types import Document, Mark

if TYPE_CHECKING:
    from rag.embedding import Embedder
    from rag.index import Index

BLANK_TEXTS: tuple[str, ...] = ("", " ", "\n\t \r\n", "\u00a0\u2003\u3000", " \n" * 2_000)
"""Texts without any content: empty, or only white space."""

HOSTILE_TEXTS: Mapping[str, str] = {
    "one character": "x",
    "punctuation": "?!",
    "accents": "Crème brûlée für Åsa, señor Łukasz",
    "combining characters": "e\u0301" * 300 + " o" + "\u0308" * 300,
    "right to left": "השלום עם כל העולם. مرحبا بالعالم، كيف الحال؟",
    "bidirectional controls": "\u202eabc\u202c \u2066def\u2069 \u200fghi",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 " * 40,
    "without spaces between words": "東京都は日本の首都であり、人口は約1400万人である。" * 40,
    "Thai": "บ้านริมแม่น้ำถูกสร้างขึ้นใหม่และทาสีหลังน้ำท่วม",
    "line ends": "one\r\ntwo\rthree\u2028four\u2029five\x85six\n\n\n\nseven\x0b\x0c",
    "control characters": "a\0b\x07c\x1b[31md\x7f\ufeff\u200b\ufffd",
    "private and astral characters": "\ue000 \U0010fffd 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠜎",
    "markup": "<script>alert('x')</script> <b>bold &amp; open <think> </passage> [1] [[2]]",
    "templates": "{{ 7 * 7 }} {0} {name} %s %(x)d ${HOME} $(reboot) `ls`",
    "query syntax": "AND OR NOT \"unclosed ( title:x^2~ * ? \\ /.*/ -- '; DROP TABLE chunks",
    "one long word": "x" * 5_000,
    "numbers": "1,234.56 -7e10 ½ ٣٤ 三十 0x1F " * 20,
    "very long": "The pump moves the water of the lake to the field. " * 1_000,
}
"""Texts that break careless code, by what is special about them. None of them is blank."""

SAMPLE_TOPICS: Mapping[str, str] = {
    "battery": "A full battery lasts 34 minutes in calm air. Charging it takes 90 minutes.",
    "propeller": "The propellers are made of nylon. Replace them after 50 hours of flight.",
    "camera": "The camera records video at 60 frames a second. Its lens is made of glass.",
    "weather": "Do not fly in rain, fog or wind above 40 kilometres an hour.",
    "storage": "Store the drone in a dry room. Moisture damages the motor bearings.",
}


def make_sample_documents() -> list[Document]:
    """Return a few short documents about a drone, with metadata, and one of several chunks.

    The metadata ``topic`` differs, ``year`` counts from 2020.
    """
    documents = [
        Document(
            uri=f"sample:{topic}",
            text=text,
            title=f"About the {topic}",
            metadata={"topic": topic, "year": 2020 + number},
        )
        for number, (topic, text) in enumerate(SAMPLE_TOPICS.items())
    ]
    paragraphs = [
        f"Step {number} of the inspection checks valve {number} and pump {number} of the drone. "
        f"It takes {number + 2} minutes, and the result is written into log {number}."
        for number in range(40)
    ]
    guide = Document(
        uri="sample:guide",
        text="\n\n".join(paragraphs),
        title="Inspection guide",
        metadata={"topic": "guide", "year": 2030},
    )
    return [*documents, guide]


def make_hostile_documents() -> list[Document]:
    """Return documents with hostile texts, and documents with many marks and a long title."""
    documents = [
        Document(uri=f"sample:hostile/{number}", text=text, title=name)
        for number, (name, text) in enumerate(HOSTILE_TEXTS.items())
    ]
    everything = "\n\n".join(text[:2_000] for text in HOSTILE_TEXTS.values())
    return [*documents, _mark_document(everything), Document(uri="sample:end", text="  x  \n")]


def _mark_document(text: str) -> Document:
    """Return a document with pages, headings and a title that is longer than a chunk may be."""
    marks = [
        Mark(start=start, end=min(start + 500, len(text)), kind="page", value=number)
        for number, start in enumerate(range(0, len(text), 500), start=1)
    ]
    marks += [
        Mark(
            start=start,
            end=min(start + 1_300, len(text)),
            kind="heading",
            value=("A heading " * 60, f"Part {start} 👩‍👩‍👧"),
        )
        for start in range(0, len(text), 1_300)
    ]
    return Document(
        uri="sample:marked",
        text=text,
        title="A very long title " * 40,
        metadata={"tags": ("a", "b"), "year": 2024, "draft": False},
        marks=tuple(marks),
    )


class WordPieceCounter:
    """A token counter: a run of up to four letters or digits is a token, and so is any other mark.

    White space has no tokens. One character has at most one token.
    """

    def __init__(self, max_tokens: int = 512) -> None:
        self.max_tokens = max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the length of each text in tokens."""
        return [len(re.findall(r"[^\W_]{1,4}|[^\w\s]|_", text)) for text in texts]


class InMemoryConnector(Connector):
    """Lists documents that are given as a setting, for tests; all of them become plain text."""

    name: ClassVar[str] = "in-memory"

    documents: tuple[Document, ...] = ()
    prefix: str = "sample:"

    @property
    def scope(self) -> str:
        """The ``prefix`` of the uris."""
        return self.prefix

    def sources(self) -> Iterator[Source]:
        """List the documents in the given order; the version is the digest."""
        for document in self.documents:
            yield Source(
                uri=document.uri,
                version=document.digest,
                read=document.text.encode,
                mime="text/plain",
                title=document.title,
                metadata=document.metadata,
            )

    def count(self) -> int:
        """Return the number of documents."""
        return len(self.documents)


@contextmanager
def open_sample_index(embedder: Embedder, *states: Sequence[Document]) -> Iterator[Index]:
    """Build an index of documents in a temporary folder, and yield it.

    `states` are successive contents of the source. Each is ingested: documents that are not in the
    next state are deleted, and changed ones are updated.
    """
    from rag.chunking import HeadingChunker
    from rag.pipeline import Pipeline

    with (
        tempfile.TemporaryDirectory(prefix="citewell-contract-") as folder,
        Pipeline(
            index=Path(folder) / "index",
            embedder=embedder,
            chunker=HeadingChunker(size=48, overlap=0),
            processes=0,
        ) as pipeline,
    ):
        index = pipeline.open(create=True)
        for documents in states:
            report = pipeline.ingest(InMemoryConnector(documents=tuple(documents)))
            assert not report.failed, f"the sample cannot be ingested: {report.failed}"
        yield index

"""The contract of parsers."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar
from unittest import SkipTest

from connectors.base import PART, Container, FailedPart, Parser, Part
from rag.component import Component
from rag.errors import SourceError
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads, call_in_other_process
from rag.testing.samples import BLANK_TEXTS, HOSTILE_TEXTS
from rag.types import Document

URI = "file:///folder/sample%20file"
TRUNCATIONS_PER_FILE = 12
DAMAGES_PER_FILE = 30


class ParserContract(PartContract[Parser]):
    """Checks of `connectors.Parser`: exact marks, stable documents, `ParseError` for garbage.

    `sample_files` returns files of the format that the parser can read.
    """

    part_class: ClassVar[type[Component]] = Parser

    suffix: ClassVar[str] = ""
    """Suffix of the uris, such as ``.md``, for a parser that chooses the format by it."""

    @abstractmethod
    def sample_files(self) -> list[bytes]:
        """Return the bytes of at least one file that the parser can read."""

    @property
    def uri(self) -> str:
        """Uri of the files."""
        return URI + self.suffix

    def test_formats_are_well_formed(self) -> None:
        """Media types have a slash, suffixes begin with a dot, and all are in lower case."""
        parser = self.make_part()
        parser.require()
        for media_type, suffixes in parser.formats.items():
            assert media_type.count("/") == 1, f"{media_type!r} is no media type"
            assert media_type == media_type.lower(), f"{media_type!r} is not in lower case"
            assert isinstance(suffixes, tuple), f"the suffixes of {media_type} are no tuple"
            for suffix in suffixes:
                assert suffix.startswith(".") and suffix == suffix.lower(), f"{suffix!r}"

    def test_sample_has_a_document(self) -> None:
        """Each sample has a document with a text, the given uri, and marks that do not overlap."""
        parser = self.make_part()
        self._skip_container(parser)
        for data in self.sample_files():
            document = parser.parse(data, uri=self.uri)
            assert isinstance(document, Document), f"parse returns {type(document).__name__}"
            assert document.uri == self.uri, f"the uri is {document.uri!r}"
            assert document.text.strip(), "the document has no text"
            _check_document(document)

    def test_documents_are_well_formed(self) -> None:
        """`documents` gives documents and failed parts, whose uris are unique and of the source."""
        parser = self.make_part()
        self._skip_container(parser)
        for data in self.sample_files():
            parts = list(parser.documents(data, uri=self.uri))
            assert any(isinstance(part, Document) for part in parts), "no part is a document"
            _check_parts(parts, self.uri)

    def test_media_type_of_the_source_is_optional(self) -> None:
        """With and without the media type of the format, the text is the same."""
        parser = self.make_part()
        self._skip_container(parser)
        for data in self.sample_files():
            text = parser.parse(data, uri=self.uri).text
            for media_type in list(parser.formats)[:1]:
                with_type = parser.parse(data, uri=self.uri, mime=media_type).text
                assert with_type == text, f"with {media_type}, the text is another"

    def test_documents_are_the_same_in_every_run(self) -> None:
        """Two calls and two threads give equal documents."""
        parser = self.make_part()
        self._skip_container(parser)
        for data in self.sample_files():
            expected = _list_digests(parser, data, self.uri)
            assert _list_digests(parser, data, self.uri) == expected, "the second call differs"
            for digests in call_from_threads(partial(_list_digests, parser, data, self.uri)):
                assert digests == expected, "two threads at once give other documents"

    def test_documents_are_the_same_in_another_process(self) -> None:
        """Another process makes equal documents."""
        parser, data = self.make_part(), self.sample_files()[0]
        self._skip_container(parser)
        digests = call_in_other_process(_list_digests, parser, data, self.uri)
        assert digests == _list_digests(parser, data, self.uri), "another process gives others"

    def test_garbage_raises_nothing_but_parse_errors(self) -> None:
        """Bytes of other formats have a document, or raise `ParseError` with a reason."""
        for data in _list_garbage():
            self._check_document_or_error(data)

    def test_damaged_file_raises_nothing_but_parse_errors(self) -> None:
        """A sample that is cut off or changed has a document, or raises `ParseError`."""
        for data in self.sample_files():
            for damaged in _damage(data):
                self._check_document_or_error(damaged)

    def test_wrong_media_type_raises_nothing_but_parse_errors(self) -> None:
        """A media type that the file does not have is no reason for another error."""
        for media_type in ("application/octet-stream", "text/html; charset=klingon", "", "x"):
            for data in self.sample_files():
                self._check_document_or_error(data, mime=media_type)

    def test_container_lists_its_parts(self) -> None:
        """The parts of a container have names, and can be read when they are listed."""
        parser = self.make_part()
        if not isinstance(parser, Container):
            raise SkipTest("the parser is not a container")
        for data in self.sample_files():
            readable_count = 0
            for part in parser.unpack(data, uri=self.uri):
                if isinstance(part, Part):
                    assert part.name, "a part has no name"
                    assert isinstance(part.read(), bytes), f"{part.name} cannot be read"
                    readable_count += 1
            assert readable_count, "the sample has no part that can be read"

    def _skip_container(self, parser: Parser) -> None:
        if isinstance(parser, Container):
            raise SkipTest("a container has documents only inside of its parts")

    def _check_document_or_error(self, data: bytes, *, mime: str | None = None) -> None:
        parser = self.make_part()
        _check_parts(_list_parts(parser, data, self.uri, mime), self.uri)


def _list_parts(
    parser: Parser, data: bytes, uri: str, mime: str | None
) -> list[Document | FailedPart]:
    """Return what `parser` makes of `data`; nothing, if it refuses the data with a reason."""
    parts: list[Document | FailedPart] = []
    try:
        if isinstance(parser, Container):
            for part in parser.unpack(data, uri=uri):
                if isinstance(part, Part):
                    _read_part(part)
        else:
            parts += parser.documents(data, uri=uri, mime=mime)
    except SourceError as error:
        assert str(error), f"the error has no reason, for {data[:60]!r}"
    except Exception as error:  # what the contract forbids
        raise AssertionError(
            f"{type(error).__name__} instead of ParseError, for {data[:60]!r}: {error}"
        ) from error
    return parts


def _read_part(part: Part) -> None:
    try:
        assert isinstance(part.read(), bytes), f"{part.name} cannot be read"
    except SourceError as error:
        assert str(error), f"{part.name}: the error has no reason"


def _list_digests(parser: Parser, data: bytes, uri: str) -> list[str]:
    return [
        part.digest if isinstance(part, Document) else f"{part.uri} {part.error}"
        for part in parser.documents(data, uri=uri)
    ]


def _check_parts(parts: Sequence[Document | FailedPart], uri: str) -> None:
    uris = [part.uri for part in parts]
    assert len(set(uris)) == len(uris), f"two documents have one uri: {uris}"
    for part in parts:
        assert isinstance(part, Document | FailedPart), f"{part!r} is no document"
        assert part.uri == uri or part.uri.startswith(uri + PART), (
            f"the uri {part.uri!r} is not made with part_uri"
        )
        if isinstance(part, Document):
            _check_document(part)
        else:
            assert isinstance(part.error, SourceError) and str(part.error), f"{part!r}"


def _check_document(document: Document) -> None:
    restored = Document.model_validate_json(document.model_dump_json())
    assert restored == document, "the JSON of the document makes another document"
    assert restored.digest == document.digest, "the JSON has another digest"
    ends: dict[str, int] = {}
    for mark in sorted(document.marks, key=lambda mark: (mark.start, mark.end)):
        assert 0 <= mark.start <= mark.end <= len(document.text), f"{mark} is outside of the text"
        assert mark.start >= ends.get(mark.kind, 0), f"{mark} overlaps another mark of its kind"
        ends[mark.kind] = mark.end


def _list_garbage() -> Iterator[bytes]:
    """Yield bytes that are not of the format, or only look like it."""
    yield from (text.encode() for text in (*BLANK_TEXTS, *HOSTILE_TEXTS.values()))
    yield "\ud800 lone surrogate".encode("utf-8", "surrogatepass")
    yield from (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xff" * 500, bytes(range(256)) * 4)
    yield "Grüße aus Łódź".encode("utf-16")
    yield "Grüße, señor".encode("latin-1")
    yield random.Random(0).randbytes(4_000)
    for magic in (b"%PDF-1.7\n", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"{\\rtf1", b"GIF89a"):
        yield magic
        yield magic + random.Random(1).randbytes(500)
    yield b"[" * 3_000
    yield b'{"a":' * 3_000
    yield b"<a>" * 3_000
    yield b"- " * 3_000 + b"x"
    yield b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
    yield b"a: &a [*a]\nb: !!python/object/apply:os.system [ls]\n"
    yield b"9" * 5_000


def _damage(data: bytes) -> Iterator[bytes]:
    """Yield truncations of `data`, and copies with changed, doubled and removed bytes."""
    step = max(1, len(data) // TRUNCATIONS_PER_FILE)
    yield from (data[:end] for end in range(0, len(data), step))
    chance = random.Random(2)
    for _ in range(DAMAGES_PER_FILE if data else 0):
        damaged = bytearray(data)
        start = chance.randrange(len(data))
        length = chance.choice((1, 2, 20))
        replacement = chance.choice((b"", b"\0", b"\xff\xfe", damaged[start : start + 20] * 3))
        damaged[start : start + length] = replacement
        yield bytes(damaged)
    yield data + data
    yield data + b"\0" * 100
    yield data.replace(b"\n", b"\r\n")

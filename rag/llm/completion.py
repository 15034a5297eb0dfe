"""What a chat model receives and returns besides messages: sources, citations, replies."""

from __future__ import annotations

from typing import NamedTuple

from rag.types import Usage


class Source(NamedTuple):
    """A passage for a model with native citations."""

    title: str
    text: str


class NativeCitation(NamedTuple):
    """A native citation of a provider: ``text[start:end]`` cites the sources with these indices."""

    start: int
    end: int
    sources: tuple[int, ...]


class Completion(NamedTuple):
    """A complete reply.

    ``finish_reason`` is ``length`` if the token limit cut the reply off, and ``refusal`` if the
    model refused to answer; ``unknown`` if the server did not say how the reply ended.
    ``citations`` are the native citations of the provider, if any. ``thoughts`` is what a reasoning
    model wrote before its reply; it is no part of ``text``.
    """

    text: str
    usage: Usage = Usage()
    finish_reason: str = "stop"
    citations: tuple[NativeCitation, ...] = ()
    thoughts: str = ""


class Delta(NamedTuple):
    """A piece of a streamed reply; the last one has no text, but the completion.

    ``restarts`` says that the text of all earlier pieces was a thought: the reply begins here.
    """

    text: str
    completion: Completion | None = None
    restarts: bool = False

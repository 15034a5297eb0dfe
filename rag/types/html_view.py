"""HTML of answers, hits and tables for notebooks: plain, escaped, readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from rag.types.source_location import format_location

if TYPE_CHECKING:
    from rag.types.answers import Answer, Citation, ClosestPassage, Sentence
    from rag.types.documents import Hit
    from rag.types.source_location import SourceLocation

_BOX = "border-left:3px solid;border-color:{color};padding:.1em .8em;margin:.5em 0"
_CHIP = (
    "display:inline-block;border:1px solid currentColor;border-radius:.8em;padding:0 .5em;"
    "font-size:.8em;opacity:.8;text-decoration:none;color:inherit"
)
_SMALL = "font-size:.85em;opacity:.75"
_COLORS = {"supported": "#2e7d32", "partly": "#b26a00", "contradicted": "#c62828"}
_GREY = "#888888"
_LINKED_SCHEMES = ("http", "https")
_MAX_TEXT_CHARACTERS = 700


def render_answer(answer: Answer) -> str:
    """Return an answer with its checked sentences, and its quotes with title, section and place."""
    parts = [f"<div><p>{_render_text(answer)}</p>"]
    if answer.reason:
        parts.append(f'<p style="{_SMALL}">{escape(answer.reason)}</p>')
    parts += [_render_quote(citation, f"[{citation.marker}]") for citation in answer.citations]
    if answer.closest:
        parts.append(f'<p style="{_SMALL}">The passages that come closest:</p>')
        parts += [_render_quote(passage, "", passage.reason) for passage in answer.closest]
    return "".join([*parts, "</div>"])


def render_hit(hit: Hit) -> str:
    """Return the text of a hit with its source and its scores."""
    chunk = hit.chunk
    scores = ", ".join(f"{name} {stage.rank}" for name, stage in hit.stage_scores.items())
    ranks = f"; ranks: {scores}" if scores else ""
    source = _render_source(chunk.uri, chunk.title, chunk.heading_context, chunk.location)
    return (
        f'<div style="{_BOX.format(color=_GREY)}"><div>{source} '
        f'<span style="{_CHIP}">{hit.score:.3f}</span>'
        f'<span style="{_SMALL}">{escape(ranks)}</span></div>'
        f"<div>{_render_lines(chunk.text)}</div></div>"
    )


def render_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; every cell is escaped."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )


def _render_text(answer: Answer) -> str:
    parts: list[str] = []
    end = 0
    for sentence in answer.sentences:
        parts.append(_render_lines(answer.text[end : sentence.start], cut=False))
        parts.append(_mark(answer.text[sentence.start : sentence.end], sentence))
        end = sentence.end
    parts.append(_render_lines(answer.text[end:], cut=False))
    return "".join(parts)


def _mark(text: str, sentence: Sentence) -> str:
    """Return a sentence, underlined if it is not fully supported."""
    content = _render_lines(text, cut=False)
    if sentence.status in ("supported", "needs_none"):
        return content
    color = _COLORS.get(sentence.status, _GREY)
    title = f"{sentence.status}, support {sentence.support:.2f}"
    return (
        f'<span title="{escape(title)}" style="border-bottom:2px dotted {color}">{content}</span>'
    )


def _render_quote(quote: Citation | ClosestPassage, marker: str, reason: str = "") -> str:
    source = _render_source(quote.uri, quote.title, quote.heading_context, quote.location)
    color = _COLORS["supported"] if getattr(quote, "verified", False) else _GREY
    note = f'<div style="{_SMALL}">{escape(reason)}</div>' if reason else ""
    return (
        f'<div style="{_BOX.format(color=color)}"><div>{escape(marker)} {source}</div>'
        f"<div>{_render_lines(quote.quote)}</div>{note}</div>"
    )


def _render_source(uri: str, title: str, headings: str, location: SourceLocation | None) -> str:
    scheme, path = _split_uri(uri)
    name = title or unquote(path.rpartition("/")[2]) or uri
    chip = f'<span style="{_CHIP}" title="{escape(uri)}">{escape(name)}</span>'
    if scheme in _LINKED_SCHEMES:
        chip = (
            f'<a style="{_CHIP}" href="{escape(uri)}" title="{escape(uri)}" rel="noreferrer">'
            f"{escape(name)}</a>"
        )
    location_text = format_location(location) if location is not None else ""
    context = headings.removeprefix(name).removeprefix(" > ")
    rest = " · ".join(part for part in (context, location_text) if part)
    return f'{chip} <span style="{_SMALL}">{escape(rest)}</span>'


def _split_uri(uri: str) -> tuple[str, str]:
    """Return scheme and path; of what is no address, no scheme and all of it."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "", uri
    return parts.scheme, parts.path


def _render_lines(text: str, *, cut: bool = True) -> str:
    if cut and len(text) > _MAX_TEXT_CHARACTERS:
        text = text[:_MAX_TEXT_CHARACTERS] + " …"
    return escape(text).replace("\n", "<br>")

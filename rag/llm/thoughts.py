"""Thoughts: what a reasoning model writes before its reply, in any of the usual forms.

Models and servers mark thoughts by tags (``<think>``, ``<thinking>``, ``<thought>`` ..., in any
case, with attributes, nested, several times), by a closing tag alone, where the prompt template has
opened it, and by the channels of the harmony format. A tag in inline code is text. Tokens that end
a turn (``<|im_end|>``, ``</s>``), which some servers leave in the text, are removed, too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAMES = "think|thinking|thought|thoughts|reasoning|reflection|scratchpad"
_TAG = re.compile(
    rf"(?<!`)<\s?(?P<close>/?)\s?(?:seed:)?(?:{_NAMES})(?:\s+\w+=[^<>]{{0,100}})?\s?/?>"
    r"|(?<!`)(?:\[|◁)(?P<close_bracket>/?)THINK(?:\]|▷)"
    r"|(?<!`)<\|(?P<token>channel|message|start|end|return|call)\|>"
    r"|(?<!`)<\|(?P<edge>begin|end)_of_thought\|>"
    r"|(?<!`)(?P<special><\|(?:im_(?:start|end)|eo[tm]_id|eot|eos|endoftext|end_of_text)\|>"
    r"|<(?:end_of_turn|eos)>|</s>(?=\s*\Z))",
    re.IGNORECASE,
)
_PARTIAL_TAG = re.compile(
    r"<(?:\s?/?\s?(?P<name>[\w:]{0,15})(?:\s[^<>]{0,100})?/?|\|\w{0,20}\|?)\Z"
    r"|(?:\[|◁)/?(?:T(?:H(?:I(?:NK?)?)?)?)?\Z",
    re.IGNORECASE,
)
_FIRST_NAMES = ("seed:think", "s", "end_of_turn", "eos", *_NAMES.split("|"))
_QUOTES = " \t\"'“‘«(<"
_HEADER = re.compile(r"\s*(?P<channel>\w*)[^<]*")
_MAX_HEADER_CHARACTERS = 200
_BARE_CHANNELS = re.compile(r"\A\s*+analysis(?=\S).*?assistantfinal", re.S)
_FINAL_CHANNELS = frozenset({"final", ""})


class Reply(NamedTuple):
    """A reply and the thoughts in it.

    `removed` are the spans of the raw text that are not in `text`, in order.
    """

    text: str
    thoughts: str
    removed: tuple[tuple[int, int], ...]

    def shift(self, offset: int) -> int | None:
        """Return the offset in `text` of an offset in the raw text; None if it was removed."""
        shift = 0
        for start, end in self.removed:
            if offset >= end:
                shift += end - start
            elif offset >= start:
                return None
        return offset - shift


def separate_thoughts(raw: str) -> Reply:
    """Return the reply in a complete text of a model, and its thoughts."""
    parser = _Parser()
    parser.feed(raw)
    parser.finish()
    return parser.make_reply()


class VisiblePiece(NamedTuple):
    """A piece of a stream without thoughts.

    `restarts` says that all text of earlier pieces turned out to be a thought, since a closing tag
    came without an opening one: the reply begins with this piece.
    """

    text: str
    restarts: bool


class ThoughtFilter:
    """Separates thoughts from a stream; text that may begin a tag is held back."""

    def __init__(self) -> None:
        self._parser = _Parser()
        self._shown = 0

    def feed(self, text: str, *, is_last: bool) -> VisiblePiece:
        """Return what can be shown of all text so far and was not returned before."""
        parser = self._parser
        parser.feed(text)
        if is_last:
            parser.finish()
        restarts = parser.restarted and self._shown > 0
        self._shown = 0 if parser.restarted else self._shown
        parser.restarted = False
        piece = parser.visible_text[self._shown :]
        self._shown += len(piece)
        return VisiblePiece(piece, restarts)


class _Parser:
    """Reads raw text piece by piece; what cannot be a part of a tag is sorted at once."""

    def __init__(self) -> None:
        self.restarted = False
        self._raw = ""
        self._position = 0
        self._depth = 0
        self._mentioned = 0  # opening tags that are words of a sentence
        self._channel_is_final = True
        self._header = ""  # the token whose header is being read: channel or start
        self._visible: list[tuple[int, int]] = []
        self._trims_next = True  # no white space at the beginning or after a thought
        self._text = ""

    @property
    def visible_text(self) -> str:
        return self._text

    def feed(self, piece: str) -> None:
        self._raw += piece
        self._advance(is_last=False)

    def finish(self) -> None:
        self._advance(is_last=True)
        if self._visible and (bare := _BARE_CHANNELS.match(self._raw)):
            self._restart(bare.end())
            self._show(bare.end(), len(self._raw))

    def make_reply(self) -> Reply:
        removed: list[tuple[int, int]] = []
        position = 0
        for start, end in [*self._visible, (len(self._raw), len(self._raw))]:
            if start > position:
                removed.append((position, start))
            position = end
        thoughts = "\n".join(
            thought
            for start, end in removed
            if (thought := _TAG.sub("", self._raw[start:end]).strip())
        )
        return Reply(self._text, thoughts, tuple(removed))

    def _advance(self, *, is_last: bool) -> None:
        while tag := _TAG.search(self._raw, self._position):
            is_at_end = tag.end() == len(self._raw)
            is_open = _is_closing(tag) and not self._depth
            may_end_text = tag["special"] and not self._raw[tag.end() :].strip()
            if not is_last and ((is_at_end and is_open) or may_end_text):
                break  # what follows decides
            self._take(tag.start())
            self._position = tag.end()
            self._handle_tag(tag)
        end = len(self._raw)
        if not is_last:
            if self._header and end - self._position < _MAX_HEADER_CHARACTERS:
                return
            end = self._find_partial_tag(end)
        self._take(end)

    def _find_partial_tag(self, end: int) -> int:
        """Return where a tag may begin that has not arrived in full; else `end`."""
        if tag := _TAG.search(self._raw, self._position):
            return tag.start()
        partial = _PARTIAL_TAG.search(self._raw, max(self._position, end - 140))
        if partial is None:
            return end
        name = (partial["name"] or "").lower()
        may_be_tag = any(known.startswith(name) for known in _FIRST_NAMES)
        return partial.start() if may_be_tag else end

    def _handle_tag(self, tag: re.Match[str]) -> None:
        if tag["special"]:
            return  # ends a turn; a server left it in the text
        token = (tag["token"] or "").lower()
        if token:
            if token in ("channel", "start"):
                self._header = token
            elif token != "message":
                self._channel_is_final = True
            self._trims_next = True
            return
        if not _is_closing(tag):
            if not self._depth and self._text.rpartition("\n")[2].strip():
                self._mentioned += 1
                self._show(tag.start(), tag.end())
                return
            if not tag.group().endswith("/>"):
                self._depth += 1
        elif self._depth:
            self._depth -= 1
        elif self._mentioned or self._is_in_sentence(tag):
            self._mentioned = max(0, self._mentioned - 1)
            self._show(tag.start(), tag.end())
            return
        else:
            self._restart(tag.end())
        self._trims_next = True

    def _is_in_sentence(self, tag: re.Match[str]) -> bool:
        """Whether a sentence mentions a closing tag: it has spaces or quotation marks around it."""
        before = self._raw[max(0, tag.start() - 1) : tag.start()]
        after = self._raw[tag.end() : tag.end() + 1]
        return bool(before) and before in _QUOTES and after not in ("", "\n", "\r")

    def _restart(self, position: int) -> None:
        self.restarted = True
        self._visible, self._text, self._trims_next = [], "", True
        self._mentioned = 0
        self._position = max(self._position, position)

    def _take(self, end: int) -> None:
        """Sort the raw text up to `end`."""
        start, self._position = self._position, max(self._position, end)
        if self._header:
            header = _HEADER.match(self._raw[start:end])
            if self._header == "channel" and header is not None:
                self._channel_is_final = header["channel"].lower() in _FINAL_CHANNELS
            self._header = ""
            return
        if not self._depth and self._channel_is_final:
            self._show(start, end)

    def _show(self, start: int, end: int) -> None:
        if self._trims_next:
            piece = self._raw[start:end]
            start += len(piece) - len(piece.lstrip())
        if start < end:
            self._trims_next = False
            self._visible.append((start, end))
            self._text += self._raw[start:end]


def _is_closing(tag: re.Match[str]) -> bool:
    return bool(tag["close"] or tag["close_bracket"] or (tag["edge"] or "").lower() == "end")

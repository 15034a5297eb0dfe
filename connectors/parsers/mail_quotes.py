"""Finding quoted messages and signatures in the text of an e-mail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

QUOTE_TITLE = "Quoted message"
SIGNATURE_TITLE = "Signature"
_MAX_SIGNATURE_LINES = 15
_MAX_ATTRIBUTION_LINES = 3
_MAX_HEADER_LINES = 6
_MAX_NAME_CHARACTERS = 60
_MAX_ATTRIBUTION_CHARACTERS = 300

_WROTE = (
    r"wrote|writes|schrieb|schreibt|geschrieben|a écrit|écrivait|escribió|escribio|ha scritto"
    r"|scrive|schreef|heeft (?:het volgende )?geschreven|escreveu|skrev|napsala?|napisała?"
    r"|napisał\(a\)|kirjoitti|írta|пишет|написал\(?а?\)?|пише|написав|a scris|yazdı"
)
_ATTRIBUTION = re.compile(
    rf"(?i)\A\W*(?:"
    rf".{{0,250}}\b(?:{_WROTE})\b.{{0,120}}:"
    rf"|(?:On|Am|Le|El|Il|Op|Em|Den|Dne|W dniu|Dnia|Вт|Пн|Ср|Чт|Пт)\b.{{0,250}}\d.{{0,250}}:"
    r"|\d{4}-\d\d-\d\d .{0,200}<[^<>\s]+@[^<>\s]+>\s*:"
    r")\W*\Z",
    re.S,
)
_STRONG_ATTRIBUTION = re.compile(
    rf"(?i)\A(?:On|Am|Le|El|Il|Op|Em|Den|Dne|W dniu|Dnia)\b.{{0,250}}\d.{{0,250}}\b(?:{_WROTE})\b"
    r".{0,120}:\W*\Z",
    re.S,
)
_QUOTE_SIGNS = re.compile(r"[ \t]{0,3}(?:>[ \t]?)+")
_VERB = re.compile(rf"(?i)(?<!\w)(?:{_WROTE})(?!\w)")
_ADDRESS = re.compile(r"<[^<>]{0,200}>|\[mailto:[^\[\]]{0,200}\]|\([^()]{0,200}@[^()]{0,200}\)")
_INTRODUCTION = re.compile(r"(?:On|Am|Le|El|Il|Op|Em|Den|Dne|W|Dnia|GMT|Uhr|PM|AM)\b")
_SEPARATOR = re.compile(
    r"(?i)\A\W{0,3}[-_]{2,} ?(?:original message|original appointment|ursprüngliche nachricht"
    r"|urspr.{0,2}ngliche nachricht|originalnachricht|message d['’]origine|message original"
    r"|mensaje original|messaggio originale|oorspronkelijk bericht|mensagem original"
    r"|forwarded message|weitergeleitete nachricht|message transféré|message transmis"
    r"|mensaje reenviado|messaggio inoltrato|doorgestuurd bericht|mensagem encaminhada"
    r"|původní zpráva|wiadomość oryginalna|исходное сообщение|пересылаемое сообщение)"
    r" ?[-_]{2,}\W*\Z"
    r"|\A(?:begin forwarded message|anfang der weitergeleiteten nachricht"
    r"|début du message réexpédié|inizio messaggio inoltrato|inicio del mensaje reenviado)\s*:\s*\Z"
)
_HEADER_NAMES = (
    r"from|von|de|da|van|od|от|från|fra",
    r"sent|gesendet|envoyé|enviado(?: el| em)?|inviato|verzonden|date|datum|data|fecha"
    r"|odesláno|wysłano|отправлено|skickat|sendt",
    r"to|an|à|para|a|aan|komu|do|кому|till|til",
    r"subject|betreff|objet|asunto|oggetto|onderwerp|assunto|předmět|temat|тема|ämne|emne",
)
_HEADER_LINES = tuple(
    re.compile(rf"(?i)\A[>\s]*\*{{0,2}}(?:{names})\s?:\*{{0,2}}\s?:?\s*\S")
    for names in _HEADER_NAMES
)
_RULE = re.compile(r"\A\s*[_-]{5,}\s*\Z")
_SIGNATURE = re.compile(r"\A--[ \t]*\Z")


class Block(NamedTuple):
    """A part of a mail that its author did not write for it: offsets, and what it is."""

    start: int
    end: int
    title: str


def find_quotes_and_signatures(text: str) -> list[Block]:
    """Return the quoted messages and the signature in the text of a mail, in order.

    The title of a quoted message has its sender: "Quoted message from Ann". A message that is
    quoted in another one is a block of its own.
    """
    lines = text.split("\n")
    quotes = _find_quotes(lines)
    spans = [
        (start + first, start + last, title)
        for start, end, _ in quotes
        for first, last, title in _divide_quote(lines[start:end])
    ]
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line) + 1)
    signature = _find_signature(lines, spans)
    if signature is not None:
        spans = sorted([*spans, signature])
    return [
        Block(offsets[start], min(offsets[end], len(text)), title) for start, end, title in spans
    ]


_LineSpan = tuple[int, int, str]


def _find_quotes(lines: Sequence[str]) -> list[_LineSpan]:
    spans: list[_LineSpan] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith(">"):
            end = _find_quote_end(lines, number)
            lowest = spans[-1][1] if spans else 0
            spans.append((_find_attribution(lines, number, lowest), end, QUOTE_TITLE))
            number = end
        elif _is_start_of_rest(lines, number):
            spans.append((number, len(lines), QUOTE_TITLE))
            break
        else:
            number += 1
    return spans


def _divide_quote(lines: Sequence[str]) -> list[_LineSpan]:
    """Divide a quote where a deeper one begins or ends, or where the head of a message begins."""
    texts = [line[_measure_signs(line) :] for line in lines]
    depths = [line[: _measure_signs(line)].count(">") for line in lines]
    first = next((i for i, depth in enumerate(depths) if depth), 0)
    depth, starts, head_end = depths[first], [0], 0
    for i in range(first, len(lines)):
        if not texts[i].strip():
            continue
        is_head = i >= head_end and _is_header_block(texts, i)
        if is_head:
            head_end = i + _MAX_HEADER_LINES
        if depths[i] > depth:
            starts.append(_find_attribution(texts, i, starts[-1] + 1))
        elif depths[i] < depth or is_head:
            starts.append(_skip_rules_up(texts, i))
        depth = depths[i]
    starts = sorted(set(starts))
    messages: list[_LineSpan] = []
    senders: dict[int, str] = {}  # by depth: a message goes on below what it quotes
    for i, message_end in zip(starts, [*starts[1:], len(lines)], strict=True):
        depth = max(depths[i:message_end])
        senders[depth] = _find_sender(texts[i:message_end]) or senders.get(depth, "")
        title = f"{QUOTE_TITLE} from {senders[depth]}" if senders[depth] else QUOTE_TITLE
        messages.append((i, message_end, title))
    return messages


def _measure_signs(line: str) -> int:
    """Return the length of the signs of a quote at the beginning of a line."""
    signs = _QUOTE_SIGNS.match(line)
    return signs.end() if signs else 0


def _skip_rules_up(lines: Sequence[str], number: int) -> int:
    """Return the first of the separators directly above a line; the line if there is none."""
    first = number
    while first:
        above = lines[first - 1].strip()
        if above and not (_SEPARATOR.match(above) or _RULE.match(above)):
            break
        first -= 1
        number = first if above else number
    return number


def _find_sender(lines: Sequence[str]) -> str:
    """Return the name in the head of a message, or in "On ... X wrote:"; "" for none."""
    head = [line.strip() for line in lines if line.strip()][:_MAX_HEADER_LINES]
    for line in head[:3]:
        if _HEADER_LINES[0].match(line):
            return _clean_name(line.partition(":")[2])
    for count in range(1, _MAX_ATTRIBUTION_LINES + 1):
        text = " ".join(head[:count])
        if len(text) <= _MAX_ATTRIBUTION_CHARACTERS and _ATTRIBUTION.match(text):
            return _find_sender_in_attribution(text)
    return ""


def _find_sender_in_attribution(text: str) -> str:
    verb = _VERB.search(text)
    after = _clean_name(re.split(r"[,\d:]", text[verb.end() :])[0]) if verb else ""
    if after:
        return after
    before = _ADDRESS.sub(" ", text[: verb.start()] if verb else text.rstrip(": "))
    return _clean_name(re.split(r"[,;]|\d\S*|\b(?:[AaPp][Mm]|Uhr)\b", before)[-1])


def _clean_name(text: str) -> str:
    """Return the name of a person or an address; "" for anything else."""
    name = " ".join(_ADDRESS.sub(" ", text).strip(" *_\"'").split()) or text.strip(" *<>\"'")
    is_name = (
        name[:1].isupper() and not any(map(str.isdigit, name)) and not _INTRODUCTION.match(name)
    )
    is_address = "@" in name and " " not in name
    return name if (is_name or is_address) and len(name) <= _MAX_NAME_CHARACTERS else ""


def _find_quote_end(lines: Sequence[str], start: int) -> int:
    """Return the line after a quote; blank lines within it belong to it."""
    end = number = start
    while number < len(lines) and (lines[number].startswith(">") or not lines[number].strip()):
        number += 1
        if lines[number - 1].startswith(">"):
            end = number
    return end


def _find_attribution(lines: Sequence[str], start: int, lowest: int) -> int:
    """Return the first line of "On ... X wrote:" above a quote; `start` if there is none."""
    last = start
    while last > lowest and not lines[last - 1].strip():
        last -= 1
    firsts = range(max(lowest, last - _MAX_ATTRIBUTION_LINES), last)
    texts = {first: " ".join(lines[first:last]) for first in firsts}
    for pattern, candidates in ((_STRONG_ATTRIBUTION, firsts), (_ATTRIBUTION, reversed(firsts))):
        for first in candidates:
            if len(texts[first]) <= _MAX_ATTRIBUTION_CHARACTERS and pattern.match(texts[first]):
                return first
    return start


def _is_start_of_rest(lines: Sequence[str], number: int) -> bool:
    """Whether all lines from `number` on are a quoted message, without signs before them."""
    line = lines[number].strip()
    if not line:
        return False
    if _SEPARATOR.match(line) or _is_header_block(lines, number):
        return True
    if _RULE.match(line):
        following = next((i for i in range(number + 1, len(lines)) if lines[i].strip()), None)
        return following is not None and _is_header_block(lines, following)
    for count in range(1, _MAX_ATTRIBUTION_LINES + 1):
        text = " ".join(part.strip() for part in lines[number : number + count])
        if len(text) <= _MAX_ATTRIBUTION_CHARACTERS and _STRONG_ATTRIBUTION.match(text):
            following_lines = [part for part in lines[number + count :] if part.strip()]
            return bool(following_lines) and not following_lines[0].startswith(">")
    return False


def _is_header_block(lines: Sequence[str], number: int) -> bool:
    """Whether the headers of a message start here, as Outlook writes them above a reply."""
    if not _HEADER_LINES[0].match(lines[number]):
        return False
    block: list[str] = []
    for line in lines[number : number + 12]:
        if not line.strip() and len(block) > 3:
            break
        block.append(line)
    names = sum(any(pattern.match(line) for line in block) for pattern in _HEADER_LINES[1:])
    return names == 3 or (names == 2 and any(map(_HEADER_LINES[3].match, block)))


def _find_signature(lines: Sequence[str], quotes: Sequence[_LineSpan]) -> _LineSpan | None:
    """Return the signature below the line "-- ": up to a quote or the end of the text."""
    for number in range(len(lines) - 1, -1, -1):
        if not _SIGNATURE.match(lines[number].rstrip("\r")):
            continue
        if any(start <= number < end for start, end, _ in quotes):
            continue
        end = next((start for start, _, _ in quotes if start > number), len(lines))
        has_text = any(line.strip() for line in lines[number + 1 : end])
        if has_text and end - number - 1 <= _MAX_SIGNATURE_LINES:
            return number, end, SIGNATURE_TITLE
    return None

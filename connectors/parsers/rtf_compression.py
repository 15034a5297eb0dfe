"""Compressed RTF, in which Outlook stores the bodies of messages ([MS-OXRTFCP])."""

from __future__ import annotations

from rag.errors import ParseError

_DICTIONARY_BYTES = 4_096
_MAX_BYTES = 50_000_000
_START = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript "
    rb"\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)


def decompress_rtf(data: bytes) -> bytes:
    """Return the RTF. Raises `ParseError` if the data is damaged."""
    if len(data) < 16:
        raise ParseError("damaged compressed RTF")
    size, kind = int.from_bytes(data[4:8], "little"), data[8:12]
    if kind == b"MELA":  # not compressed
        return data[16 : 16 + size]
    if kind != b"LZFu":
        raise ParseError("damaged compressed RTF")
    return _expand(data[16:], min(size, _MAX_BYTES))


def _expand(data: bytes, size: int) -> bytes:
    dictionary = bytearray(_START.ljust(_DICTIONARY_BYTES, b"\0"))
    output = bytearray()
    write_position, position = len(_START), 0
    while position < len(data) and len(output) < size:
        flags = data[position]
        position += 1
        for bit in range(8):
            if position >= len(data) or len(output) >= size:
                break
            if not flags >> bit & 1:
                piece, position = data[position : position + 1], position + 1
                dictionary[write_position] = piece[0]
                write_position = (write_position + 1) % _DICTIONARY_BYTES
                output += piece
                continue
            reference = int.from_bytes(data[position : position + 2], "big")
            position += 2
            offset, length = reference >> 4, (reference & 15) + 2
            if offset == write_position:  # the end
                return bytes(output[:size])
            for _ in range(length):
                byte = dictionary[offset]
                offset = (offset + 1) % _DICTIONARY_BYTES
                dictionary[write_position] = byte
                write_position = (write_position + 1) % _DICTIONARY_BYTES
                output.append(byte)
    return bytes(output[:size])

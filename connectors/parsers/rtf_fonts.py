r"""Rich Text Format before it is read: characters of fonts with another code page, hidden text.

The code page of ``\'c4`` is that of the current font, which its ``\fcharset`` tells. Hidden text
(``\v``) and text that a tracked change has deleted (``\deleted``) are not shown.
"""

from __future__ import annotations

import re

_CODE_PAGES = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gb18030", 136: "cp950",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257",
    204: "cp1251", 222: "cp874", 238: "cp1250", 255: "cp437",
}  # fmt: skip
_ALL_PAGES = frozenset((*_CODE_PAGES.values(), "cp850", "cp852", "cp866", "cp936"))
_ANSI_PAGE = re.compile(r"\\ansicpg(\d{3,5})")
_FONT = re.compile(r"\\f(\d{1,5})(?![a-z])[^{};]{0,300}?\\fcharset(\d{1,3})")
_TOKEN = re.compile(
    r"(?P<brace>[{}])|(?P<bytes>(?:\\'[0-9a-fA-F]{2}[\r\n]{0,2})+)"
    r"|\\(?P<word>[a-z]{1,32})(?P<number>-?\d{1,10})? ?|\\[^a-z']|[^\\{}]+|(?s:.)"
)
_HEX = re.compile(r"'([0-9a-fA-F]{2})")


def prepare_rtf(rtf: str) -> str:
    """Return RTF without hidden text, with Unicode for the characters of fonts with a code page."""
    head = rtf[: rtf.find("\\pard") if "\\pard" in rtf else len(rtf)]
    pages = {font: _CODE_PAGES.get(int(charset), "") for font, charset in _FONT.findall(head)}
    pages = {font: page for font, page in pages.items() if page not in ("", "cp1252")}
    if not pages and not re.search(r"\\(?:v|deleted)(?![a-z])", rtf):
        return rtf
    declared = _ANSI_PAGE.search(head)
    usual_page = f"cp{declared[1]}" if declared and f"cp{declared[1]}" in _ALL_PAGES else "cp1252"
    pieces: list[str] = []
    states = [("", False)]  # the font, and whether text is hidden, of each open group
    for token in _TOKEN.finditer(rtf):
        font, is_hidden = states[-1]
        if token["brace"] == "{":
            states.append(states[-1])
        elif token["brace"] == "}":
            if len(states) > 1:
                states.pop()
        elif token["word"]:
            states[-1] = _change_state(states[-1], token["word"], token["number"] or "")
        elif is_hidden:
            continue
        elif token["bytes"] and pages:
            pieces.append(_write_characters(token["bytes"], pages.get(font, usual_page)))
            continue
        pieces.append(token[0])
    return "".join(pieces)


def _change_state(state: tuple[str, bool], word: str, number: str) -> tuple[str, bool]:
    font, is_hidden = state
    if word == "f":
        return number, is_hidden
    if word in ("v", "deleted"):
        return font, number != "0"
    if word == "plain":
        return font, False
    return state


def _write_characters(bytes_: str, page: str) -> str:
    data = bytes(int(digits, 16) for digits in _HEX.findall(bytes_))
    units = data.decode(page, "replace").encode("utf-16-le")
    codes = (
        int.from_bytes(units[i : i + 2], "little", signed=True) for i in range(0, len(units), 2)
    )
    return "".join(f"\\u{code}?" for code in codes)

"""Names of files that are no documents: lock files, leftovers of programs, and backup copies."""

from __future__ import annotations

import re

_SYSTEM_FILES = {
    "thumbs.db": "thumbnails of Windows",
    "ehthumbs.db": "thumbnails of Windows",
    "desktop.ini": "folder settings of Windows",
    ".ds_store": "folder settings of macOS",
    "icon\r": "a folder icon of macOS",
    "rag.yaml": "the pipeline of citewell",
}
_LEFTOVERS = (
    (re.compile(r"(?s)~\$.+"), "the lock file of an open Office document"),
    (re.compile(r"(?s)\.~lock\..*#"), "the lock file of an open document"),
    (re.compile(r"(?si)~WR[A-Z]\d{3,5}\.\w+|.*\.tmp"), "a temporary file"),
    (
        re.compile(r"(?si).*\.(?:part|partial|crdownload|filepart|!ut|opdownload)"),
        "an incomplete download",
    ),
    (re.compile(r"(?si)\..*\.sw[a-p]|.*\.swp"), "the swap file of an editor"),
)
_COPIES = (
    (
        re.compile(r"(?si).+~(?:\d+~)?|#.+#|.+\.(?:bak\d*|backup|orig|old|rej|wbk|xlk)"),
        "a backup copy",
    ),
    (
        re.compile(
            r"""(?six).*(?:
            \([^()]*(?:
                conflicted\ copy | case\ conflict | konflikt\ stehende\ kopie | copie\ en\ conflit
                | copia\ en\ conflicto | copia\ in\ conflitto | cópia\ em\ conflito
                | conflicterende\ kopie | конфликтующая\ копия | 競合コピー
                | 冲突副本 | 충돌하는\ 복사본
            )[^()]*\)
            | \.sync-conflict-\d{8} | _conflict-\d{8}
            | [' ]s\ conflicted\ copy\ \d{4}
            ).*"""
        ),
        "a conflicted copy",
    ),
)


def explain_skip(name: str, *, copies: bool = False) -> str:
    """Return why the file `name` is no document; "" for a document.

    With `copies`, backup and conflicted copies are documents.
    """
    if reason := _SYSTEM_FILES.get(name.casefold()):
        return reason
    for pattern, reason in _LEFTOVERS if copies else (*_LEFTOVERS, *_COPIES):
        if pattern.fullmatch(name):
            return reason
    return ""

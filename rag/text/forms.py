"""A form: how a word, number or date is written for comparison."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_MAX_FORM_CHARACTERS = 80
_LEADING_ZEROS = re.compile(r"(?<=[^\W\d_])0+(?=[1-9]\d*$)")


class Form(NamedTuple):
    """A form, and the span of the text that it stands for."""

    text: str
    start: int
    end: int


def make_form(form: str, start: int, end: int) -> Iterator[Form]:
    """Yield a form; one with zeros in front of its number also without them: ``ba0117``."""
    if 1 < len(form) <= _MAX_FORM_CHARACTERS:
        yield Form(form, start, end)
        if "0" in form and form[0].isalpha():
            shorter = _LEADING_ZEROS.sub("", form)
            if shorter != form:
                yield Form(shorter, start, end)

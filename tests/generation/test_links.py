import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.generation.links import REMOVED, without_links

SOURCE = "https://docs.example/manual"
QUOTED = "https://shop.example/parts"


def safe(text: str) -> str:
    return without_links(text, cited=lambda u: u == SOURCE, quoted=lambda u: u == QUOTED)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"See [the manual]({SOURCE}).", f"See [the manual]({SOURCE})."),
        (f"See {SOURCE}.", f"See {SOURCE}."),
        (f"Parts are at {QUOTED}, always.", f"Parts are at `{QUOTED}`, always."),
        ("See [here](https://evil.example/?q=secret).", "See here."),
        ("See [here](<https://evil.example/>  'title').", "See here."),
        ("See [a [b] c](https://evil.example/).", "See a [b] c."),
        ("![all well](https://evil.example/p.png)", "all well"),
        ("![](//evil.example/p.png)", ""),
        ("[![x](https://evil.example/p.png)](https://evil.example)", "x"),
        ("![pixel][p]", "pixel"),
        ("![pixel]", "pixel"),
        ("[p]: https://evil.example/p.png", ""),
        ("[p]: //evil.example/p.png 'x'", ""),
        ("At https://evil.example/a_(b)?c=d.", f"At {REMOVED}."),
        ("At <https://evil.example/>!", f"At {REMOVED}!"),
        ("At www.evil.example/x now", f"At {REMOVED} now"),
        ("At //evil.example/x now", f"At {REMOVED} now"),
        ("[run](javascript:alert(1))", "run"),
        ("[run](data:text/html;base64,PHNjcmlwdD4=)", "run"),
        ('<img src="https://evil.example/x">', f'‹img src="{REMOVED}">'),
        ("<script>alert(1)</script>", "‹script>alert(1)‹/script>"),
        (
            "`curl https://evil.example` and 3 < 4 // 2",
            "`curl https://evil.example` and 3 < 4 // 2",
        ),
        ("A ratio of 3:4, and/or [1] etc.", "A ratio of 3:4, and/or [1] etc."),
    ],
)
def test_links(text: str, left: str) -> None:
    assert safe(text) == left


PARTS = st.sampled_from(
    "[|]|(|)|!|<|>|https://evil.example|//evil.example|x| |a |[a]|(https://evil.example/?q=1)|"
    "www.evil.example|[p]:|\n|'t'|javascript:".split("|")
)


@given(st.lists(PARTS, max_size=12).map("".join))
def test_nothing_leads_elsewhere(text: str) -> None:
    left = safe(text)
    assert not re.search(r"(?://|\bwww\.)\S*evil", left)
    assert not re.search(r"!\[[^\]\n]*\]\(\S*evil", left)
    assert safe(left) == left

"""Removal of links and images that do not lead to a cited source."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rag import ExtractiveGenerator
from rag.generation.links import LINK_PLACEHOLDER, remove_all_links, remove_uncited_links
from tests.generation.samples import QUESTION, make_hit, run_generator

SOURCE = "https://docs.example/manual"
QUOTED = "https://shop.example/parts"


def clean_links(text: str) -> str:
    return remove_uncited_links(
        text, is_cited=lambda u: u == SOURCE, is_quoted=lambda u: u == QUOTED
    )


@pytest.mark.parametrize(
    ("text", "cleaned"),
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
        ("[[b](https://evil.example/1) a](https://evil.example/2)", "b a"),
        ("![pixel][p]", "pixel"),
        ("![pixel]", "pixel"),
        ("[p]: https://evil.example/p.png", ""),
        ("[p]: //evil.example/p.png 'x'", ""),
        ("At https://evil.example/a_(b)?c=d.", f"At {LINK_PLACEHOLDER}."),
        ("At <https://evil.example/>!", f"At {LINK_PLACEHOLDER}!"),
        ("At www.evil.example/x now", f"At {LINK_PLACEHOLDER} now"),
        ("At //evil.example/x now", f"At {LINK_PLACEHOLDER} now"),
        ("[run](javascript:alert(1))", "run"),
        ("[run](data:text/html;base64,PHNjcmlwdD4=)", "run"),
        ('<img src="https://evil.example/x">', f'‹img src="{LINK_PLACEHOLDER}">'),
        ("<script>alert(1)</script>", "‹script>alert(1)‹/script>"),
        (
            "`curl https://evil.example` and 3 < 4 // 2",
            "`curl https://evil.example` and 3 < 4 // 2",
        ),
        ("A ratio of 3:4, and/or [1] etc.", "A ratio of 3:4, and/or [1] etc."),
    ],
)
def test_uncited_links_are_removed(text: str, cleaned: str) -> None:
    assert clean_links(text) == cleaned


MARKDOWN_PIECES = st.sampled_from(
    "[|]|(|)|!|<|>|https://evil.example|//evil.example|x| |a |[a]|(https://evil.example/?q=1)|"
    "www.evil.example|[p]:|\n|'t'|javascript:".split("|")
)


@given(st.lists(MARKDOWN_PIECES, max_size=12).map("".join))
def test_no_foreign_link_remains(text: str) -> None:
    cleaned = clean_links(text)
    # Renderers make links only at the beginning of a word: not of "x//evil.example".
    assert not re.search(
        r"(?:(?<![a-z0-9+.:/-])(?:[a-z][a-z0-9+.-]{1,20}:)?//|\bwww\.)\S*evil", cleaned
    )
    assert not re.search(r"!\[[^\]\n]*\]\(\S*evil", cleaned)
    assert clean_links(cleaned) == cleaned


EVIL = "http://evil.example/p.png?q=secret"
TRUE = "The battery lasts 34 minutes [1]."
FENCES_THAT_RENDERERS_SEE_OTHERWISE = [
    f"{TRUE}\n\n> ```\nsee\n```\nbar = 1\n```\n![x]({EVIL})\n```\n",
    f"{TRUE}\n\n> ```\n\n```\nbar = 1\n```\n![x]({EVIL})\n```\n",
    f"{TRUE}\n\n    ```\nfoo\n```\nbar\n```\n![x]({EVIL})\n```\n",
    f"{TRUE}\n\n```x\n\r```\r![x]({EVIL})\n```\n",
    f"{TRUE}\r```\rb = 1\n```\n![x]({EVIL})\n```\n",
    f"- {TRUE}\n\n- ```\n  a=1\n  ```\n  ![x]({EVIL})\n  ```\n",
    f"{TRUE}\n\n> ```\n[x]: {EVIL}\n```\n\n![x]\n",
    f"{TRUE} \\`<{EVIL}>\\` is nice",
    f"{TRUE} \\`![x]({EVIL})\\`",
    f"{TRUE}\n\n```\n<{EVIL}>\n```\n",
    *(
        f"The battery lasts ![34\nminutes][1] in calm air [1].\n\n{mark}[1]: {address} 'x'"
        for mark in ("", "- ", "* ", "1. ", "> 1. ", "- - ", "  + ")
        for address in (
            "https:\\/\\/evil.example/p.png",
            "https:/evil.example/p.png",
            "https:evil.example",
            "data:evil.example",
        )
    ),
    f"{TRUE} ![34 [x] minutes][1]\n\n1. [1]: {EVIL}",
]


@pytest.mark.parametrize("draft", FENCES_THAT_RENDERERS_SEE_OTHERWISE)
@pytest.mark.parametrize("unsupported", ["drop", "flag"])
@pytest.mark.parametrize("live", [False, True])
def test_no_link_hides_in_what_may_be_code(draft: str, unsupported: str, live: bool) -> None:
    answer, _ = run_generator(draft, live=live, unsupported=unsupported)
    html = MarkdownIt("commonmark").render(answer.text)
    assert "34 minutes" in " ".join(html.split())
    assert "evil.example" not in "".join(re.findall(r'(?:src|href)="[^"]*"', html))


def test_a_document_cannot_link_by_escaped_backticks() -> None:
    hit = make_hit("u", 0, f"The battery lasts 34 minutes \\`<{EVIL}>\\` in calm air.")
    answer = ExtractiveGenerator().answer(QUESTION, [hit])
    assert answer.status == "answered"
    assert "href" not in MarkdownIt("commonmark").render(answer.text)


def test_a_text_without_sources_has_no_links() -> None:
    """Such as the words of a model that refuses, and replies to tasks of chat clients."""
    text = remove_all_links(f"No ![x]({EVIL}) <img src={EVIL}> [a]({EVIL}) {SOURCE} `<{EVIL}>`")
    html = MarkdownIt("commonmark").render(text)
    assert "src=" not in re.sub("‹[^<]*", "", html)
    assert "href=" not in html

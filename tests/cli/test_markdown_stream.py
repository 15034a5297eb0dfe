"""Markdown on the terminal while it is written."""

from __future__ import annotations

import os
import pty
import re
import sys
import threading
from collections.abc import Iterator, Sequence

import pytest

from rag.cli.markdown_stream import keep_line_breaks, split_finished_blocks
from rag.cli.output import print_stream
from rag.generation import Event, TextDelta

TEXT = """\
# Plans

The *Team* plan costs **20 euros** [1].
The Pro plan costs 30 euros [2].

| Plan | Price |
|---|---|
| Team | 20 euros [1] |

- one
- two

```python
print("a  b")

print(2)
```

\x1b]0;title\x07 [link](https://evil.example) end
"""

SCRIPT = """
import sys
from rag.cli.markdown_stream import MarkdownStream

stream = MarkdownStream()
text, size = sys.argv[1].encode().decode("unicode_escape"), int(sys.argv[2])
for i in range(0, len(text), size):
    stream.write(text[i : i + size])
stream.finish()
"""


def run_in_terminal(arguments: Sequence[str]) -> str:
    child, descriptor = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", COLUMNS="80", LINES="50")
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT, *arguments])
    output = b""
    while True:
        try:
            block = os.read(descriptor, 65_536)
        except OSError:
            break
        if not block:
            break
        output += block
    os.waitpid(child, 0)
    return output.decode(errors="replace")


def read_screen(output: str) -> str:
    """Return what stays on the screen: the sequences that draw and erase are applied simply."""
    lines: list[str] = [""]
    row = 0
    for piece in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r\n|\r|\n)", output):
        if piece in ("\r\n", "\n"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            pass
        elif match := re.fullmatch(r"\x1b\[([0-9;?]*)([A-Za-z])", piece):
            if match[2] == "A":
                row = max(0, row - int(match[1] or 1))
            elif match[2] == "K":
                lines[row] = ""
        else:
            lines[row] += piece
    return "\n".join(lines)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_markdown_is_drawn_whatever_the_pieces(size: int) -> None:
    output = run_in_terminal([TEXT.encode("unicode_escape").decode(), str(size)])
    screen = read_screen(output)
    assert "\x1b]0;" not in output, "a text cannot set the title"
    assert "**" not in screen and "|---" not in screen and "```" not in screen
    for words in ("20 euros [1].", "The Pro plan costs 30 euros [2].", "• one", 'print("a  b")'):
        assert screen.count(words) >= 1, words
    assert screen.count("The Pro plan costs 30 euros [2].") == 1, "drawn once in the end"
    assert re.search(r"Team\s+20 euros \[1\]", screen)
    assert "evil.example" not in output or "]8;" not in output, "no hyperlinks"


def test_a_fence_is_one_block() -> None:
    text = "One.\n\n```\na\n\nb\n"
    assert split_finished_blocks(text) == ("One.\n\n", "```\na\n\nb\n")
    assert split_finished_blocks(f"{text}```\n\nT") == (f"{text}```\n\n", "T")


def test_lines_of_a_paragraph_stay_lines() -> None:
    assert keep_line_breaks("a\nb\n\n- c\n- d") == "a  \nb\n\n- c\n- d"
    assert keep_line_breaks("```\na\nb\n```") == "```\na\nb\n```"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_stream_is_not_drawn_any_more(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    threads = set(threading.enumerate())

    def break_off() -> Iterator[Event]:
        yield TextDelta(text="The *Team* plan costs ")
        assert len(set(threading.enumerate()) - threads) == 1
        raise error

    with pytest.raises(error):
        print_stream(break_off(), is_markdown=True)
    for thread in set(threading.enumerate()) - threads:
        thread.join(timeout=10)
    assert not set(threading.enumerate()) - threads
    assert "plan costs" in capsys.readouterr().out

"""What documents, file names and models say cannot drive the terminal: tried in a real one."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.cli import terminal
from rag.cli.eval_options import make_progress_printer
from rag.cli.main import cli, main
from rag.testing import ModelServer, Shape

RAG = str(Path(sys.executable).with_name("rag"))
TITLE = "\x1b]0;owned\x07"
CLIPBOARD = "\x1b]52;c;b3duZWQ=\x07"
HIDE = "\x1b[8m"
C1 = "\x9b31m"
BIDI = "\u202e"
TAGS = "\U000e0041\U000e0042"
ATTACK = f"{TITLE}{CLIPBOARD}{HIDE}{C1}{BIDI}{TAGS}\x08\x0b"
OWN_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what click and rich print
UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)


def run_in_terminal(*arguments: str, folder: Path, stdin: str = "") -> str:
    """Run ``rag`` with a terminal for stdout and stderr, and return what it printed."""
    controller, worker = pty.openpty()
    process = subprocess.Popen(
        [RAG, *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=worker,
        stderr=worker,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"},
        text=True,
    )
    os.close(worker)
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    printed = bytearray()
    while True:
        try:
            piece = os.read(controller, 65_536)
        except OSError:  # the process closed its end
            break
        if not piece:
            break
        printed += piece
    os.close(controller)
    process.wait()
    return printed.decode("utf-8", errors="replace")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of documents that try to drive the terminal."""
    folder = tmp_path_factory.mktemp("hostile")
    docs = folder / "docs"
    docs.mkdir()
    name = f"kite{TITLE}{BIDI}.md".replace("/", "")
    (docs / name).write_text(
        f"# Battery {ATTACK}\n\nThe battery {ATTACK} of the kite lasts 34 minutes.\n",
        encoding="utf-8",
    )
    (docs / f"broken{C1}.pdf").write_bytes(b"%PDF-1.4 " + ATTACK.encode())
    printed = run_in_terminal("ingest", "docs", folder=folder)
    assert "added" in printed
    assert_safe(printed)
    return folder


def assert_safe(printed: str) -> None:
    without_styles = OWN_STYLE.sub("", printed.replace("\r", ""))
    assert UNSAFE.findall(without_styles) == []
    assert "owned" not in printed or "\x1b]" not in printed
    assert HIDE not in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "How long does the battery last?"),
        ("ask", "--stream", "--trace", "How long does the battery last?"),
        ("ask", "Who is the king of the moon?"),
        ("search", "--explain", "battery"),
        ("stats", "--documents"),
        ("parse", "docs"),
        ("chat",),
        ("delete", f"docs/{ATTACK}.txt".replace("\0", "")),
        ("ask", "--json", "How long does the battery last?"),
    ],
)
def test_nothing_that_is_printed_drives_the_terminal(
    hostile: Path, arguments: tuple[str, ...]
) -> None:
    if arguments[0] == "parse":
        arguments = ("parse", str(next((hostile / "docs").glob("kite*"))))
    stdin = "How long does the battery last?\n/sources\n/why\n" if arguments[0] == "chat" else ""
    printed = run_in_terminal(*arguments, folder=hostile, stdin=stdin)
    assert printed.strip()
    assert_safe(printed)
    if arguments[0] in ("search", "parse"):
        assert "␛" in printed  # it is shown that something was there


@pytest.mark.slow
def test_the_reply_of_a_model_and_the_reason_of_a_server_are_safe(hostile: Path) -> None:
    config = hostile / "p.yaml"
    for shape in (
        Shape(text=f"The battery {ATTACK} lasts 34 minutes [1]."),
        Shape(status=400, refuses=(lambda _: f"no {ATTACK} way",)),
        Shape(
            status=400,
            refuses=(lambda r: f"bad temperature {ATTACK}" if "temperature" in r else None,),
        ),
    ):
        with ModelServer(shape) as server:
            config.write_text(
                "generator: {type: grounded, model: {type: openai, model: m, retries: 0, "
                f'base_url: "{server.url}"}}}}\n'
            )
            printed = run_in_terminal(
                "ask", "-p", "p.yaml", "--stream", "How long?", folder=hostile
            )
            assert printed.strip()
            assert_safe(printed)


@pytest.mark.slow
def test_json_and_piped_text_stay_exact(hostile: Path) -> None:
    def run(*arguments: str) -> bytes:
        command = [RAG, *arguments]
        return subprocess.run(command, cwd=hostile, capture_output=True, check=True).stdout

    hits: Any = json.loads(run("search", "--json", "battery"))["hits"]
    assert any(ATTACK in hit["chunk"]["text"] for hit in hits)
    uri = hits[0]["chunk"]["uri"]
    assert ATTACK.encode() in run("show", uri)
    assert_safe(run_in_terminal("show", uri, folder=hostile))


@given(st.text())
def test_clean_texts_have_no_control_characters(text: str) -> None:
    cleaned = terminal.clean(text)
    assert not UNSAFE.search(cleaned)
    assert terminal.clean(cleaned) == cleaned
    in_place = terminal.clean_in_place(text)
    assert terminal.clean(in_place) == in_place and len(in_place) == len(text)
    if not terminal._UNSAFE.search(text):
        assert cleaned == text


@given(st.text())
def test_json_has_the_same_value(text: str) -> None:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        terminal.echo_json({"text": text.encode("utf-8", "replace").decode()})
    assert json.loads(out.getvalue())["text"] == text.encode("utf-8", "replace").decode()
    assert not re.search("[\x7f-\x9f\u202a-\u202e\U000e0000-\U000e007f]", out.getvalue())


def test_styles_are_kept_and_what_is_styled_is_clean() -> None:
    assert terminal.style(TITLE, bold=True) == "\x1b[1m␛]0;owned␇\x1b[0m"


def test_no_module_of_the_command_line_prints_by_itself() -> None:
    folder = Path(terminal.__file__).parent
    for path in folder.glob("*.py"):
        if path.name != "terminal.py":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"click\.(echo|secho|style)\(|sys\.std(out|err)\.write", text), (
                path
            )


def test_progress_goes_back_to_the_beginning_of_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = make_progress_printer()
    assert progress is not None
    progress(1, 2)
    progress(2, 2)
    assert capsys.readouterr().err == "\r1 of 2 \r2 of 2 \n"


def test_records_of_other_libraries_and_tracebacks_are_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        logging.getLogger("other").warning("from %s", "evil\x1b[31m\x9b")
        raise RuntimeError("broken \x1b]0;PWN\x07")

    monkeypatch.setenv("RAG_DEBUG", "1")
    monkeypatch.setattr(cli, "invoke", fail)
    with pytest.raises(SystemExit):
        main(["formats"])
    printed = capsys.readouterr().err
    assert "Traceback" in printed and "PWN" in printed
    assert "\x1b" not in printed and "\x9b" not in printed

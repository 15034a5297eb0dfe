"""What the docs say runs, runs."""

import inspect
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from textwrap import dedent

import click
import pytest
from playwright.sync_api import Browser

import rag
from evals.metrics import GROUPS, all_metrics
from evals.metrics import base as metrics_base
from rag.cli import cli
from rag.cli.parse import describe_formats
from tests.conftest import HANDBOOK, ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FENCED = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.S | re.M)


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Language and text of the code blocks of a page."""
    code_blocks = FENCED.findall(page.read_text(encoding="utf-8"))
    return [(language, dedent(text)) for _, language, text in code_blocks if language in languages]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


PYTHON = [
    pytest.param(text, id=f"{name_of(page)}-{number}")
    for page in PAGES
    if page not in TUTORIALS and page.name != "coming-from.md"
    for number, (_, text) in enumerate(blocks(page, "python"))
]
YAML = [
    pytest.param(text, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, (_, text) in enumerate(blocks(page, "yaml"))
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a folder of documents; registered components are forgotten."""
    monkeypatch.setattr("rag.component._registered_classes", {})
    monkeypatch.setattr("evals.metrics.base._METRICS", dict(metrics_base._METRICS))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "handbook.md").write_text(HANDBOOK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", PYTHON)
def test_python_runs(
    text: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    name = str(request.node.callspec.id)
    exec(compile(text, name, "exec"), {"__name__": "docs"})  # noqa: S102
    if name == "README.md-0":
        out = capsys.readouterr().out
        assert "1 added, 0 updated, 0 unchanged" in out
        assert "A full battery lasts 34 minutes in calm air. [1]" in out


@pytest.mark.parametrize("text", YAML)
def test_yaml_is_a_pipeline(text: str) -> None:
    from rag import Pipeline

    assert Pipeline.from_yaml(text).to_yaml()


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=name_of)
def test_a_tutorial_runs_from_its_beginning_to_its_end(page: Path, tmp_path: Path) -> None:
    """All of its commands in one shell, its Python in one process, in their order."""
    script = ["set -euo pipefail", "shopt -s expand_aliases", "set -m"]
    script.append("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT")  # servers of a failed script
    lines = blocks(page, "sh", "python")
    pure = all(language == "python" for language, _ in lines)
    if pure:
        (tmp_path / "tutorial.py").write_text("\n".join(text for _, text in lines))
        script.append(f"{sys.executable} tutorial.py")
    else:
        for number, (language, text) in enumerate(lines):
            if language == "python":
                text = f"cat > block{number}.py <<'PYTHON'\n{text}PYTHON\n{sys.executable} block{number}.py"
            script.append(text)
    full_script = "\n".join(script)
    for port in set(re.findall(r"--port (\d+)", full_script)):
        full_script = full_script.replace(port, str(_free_port()))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", full_script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"
    assert "Traceback" not in ran.stderr
    for output_block in blocks(page, "text"):
        for line in output_block[1].splitlines():
            assert line.strip() in ran.stdout, line


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_every_command_in_the_docs_is_one() -> None:
    """Commands, options and arguments of the shell blocks are those that there are."""
    checked = 0
    for page in PAGES:
        for _, text in blocks(page, "sh", "console"):
            for line in re.sub(r"\\\n", " ", text).splitlines():
                match = re.search(r"(?:^|[|;&] *|bin/)rag (.*)", line)
                if not match or "..." in line:
                    continue
                words = shlex.shlex(match[1], posix=True, punctuation_chars=True)
                command = takewhile(lambda word: not set(word) <= set("|&<>;()"), words)
                checked += 1
                _resolve(list(command), f"{name_of(page)}: {line}")
    assert checked > 40


def _resolve(words: list[str], where: str) -> None:
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, where
        command, words = command.commands[words[0]], words[1:]
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {
        "--help",
        "-h",
        "--version",
    }
    for word in words:
        if word.startswith("-") and not re.fullmatch(r"-\d+", word):
            assert word.partition("=")[0] in options, f"{where}: {word}"


class _Answering(BaseHTTPRequestHandler):
    """Plays OpenAI's chat server."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {
            "role": "assistant",
            "content": "A full battery lasts 34 minutes in calm air [1].",
        }
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        body = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        sent = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


def _stub_hosted_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Play the packages that do nothing but reach a hosted model; the frameworks are real."""
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from llama_index.core.llms.mock import MockLLM

    from rag.interop.langchain import CitewellEmbeddings
    from rag.interop.llama_index import CitewellEmbedding

    reply = "A full battery lasts 34 minutes in calm air [1]."
    played = {
        "langchain_openai": {
            "ChatOpenAI": lambda **_: GenericFakeChatModel(messages=iter([AIMessage(reply)])),
            "OpenAIEmbeddings": CitewellEmbeddings,
        },
        "llama_index.embeddings.openai": {"OpenAIEmbedding": CitewellEmbedding},
        "llama_index.llms.openai": {"OpenAI": lambda **_: MockLLM()},
    }
    for name, members in played.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "framework"),
    [(0, "citewell"), (1, "langchain"), (2, "llama_index"), (3, "haystack")],
)
def test_the_same_program_in_each(
    number: int,
    framework: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _stub_hosted_models(monkeypatch)
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    programs = blocks(ROOT / "docs" / "coming-from.md", "python")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        threading.Thread(
            target=lambda: server.serve_forever(poll_interval=0.01), daemon=True
        ).start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's
            exec(compile(programs[number][1], framework, "exec"), {"__name__": "docs"})  # noqa: S102
        server.shutdown()
    out = capsys.readouterr().out
    assert "handbook.md" in out and ("34 minutes" in out or framework == "llama_index")


@pytest.mark.slow
def test_the_site_is_built(tmp_path: Path, browser: Browser) -> None:
    """Without a warning, with every page of the menu; search needs no server and no host."""
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-q",
        "-d",
        str(tmp_path / "site"),
    ]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    pages = list((tmp_path / "site").rglob("*.html"))
    built_pages = {p.relative_to(tmp_path / "site").with_suffix(".md") for p in pages}
    assert {p.relative_to(ROOT / "docs") for p in PAGES if p.name != "README.md"} <= built_pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:link|script|img)[^>]+(?:href|src)=\"?(?:https?:)?//", text), (
            page.name
        )
    reference = (tmp_path / "site" / "reference" / "pipeline.html").read_text(encoding="utf-8")
    assert "Index the sources: paths, uris or connectors" in reference

    visit = browser.new_page()
    foreign_urls: list[str] = []
    visit.on("request", lambda r: foreign_urls.append(r.url) if "http" in r.url[:5] else None)
    visit.goto((tmp_path / "site" / "index.html").as_uri())
    visit.click("[data-md-component=search-query]")
    visit.keyboard.type("answer cache")
    visit.locator(".md-search-result__item a").first.wait_for(timeout=60_000)
    assert "cache of answers" in visit.locator(".md-search-result__item").first.inner_text()
    assert not foreign_urls
    visit.close()


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:{]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_command_line_reference_is_current() -> None:
    """`python -m tests.test_docs` writes it."""
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference()


def test_the_table_of_formats_is_current() -> None:
    """`python -m tests.test_docs` writes it."""
    page = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    assert page == with_formats(page)


def test_the_list_of_metrics_is_current() -> None:
    """`python -m tests.test_docs` writes it."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == with_metrics(page)


def test_the_list_of_public_names_is_current() -> None:
    """`python -m tests.test_docs` writes it."""
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == public_names()


def public_names() -> str:
    """The page of all public names, with the first line of each docstring."""
    rows = ["| name | what it is |", "|---|---|"]
    for name in rag.__all__:
        first_line = (inspect.getdoc(getattr(rag, name)) or "").partition("\n")[0]
        text = first_line.replace("``", "`").replace("|", "\\|")
        rows.append(f"| `{name}` | {text} |")
    return (
        "# Public names\n\n"
        "These names can be imported from `rag`. A release that changes one of them says so in the changelog. Other\n"
        "names may change without notice. Generated from the docstrings: `python -m tests.test_docs`.\n\n"
        + "\n".join(rows)
        + "\n"
    )


def with_metrics(page: str) -> str:
    """The page with every metric of ours, as its docstring describes it."""
    own_metrics = [
        m for m in all_metrics().values() if str(m.function.__module__).startswith("evals.")
    ]
    parts = []
    for group in GROUPS:
        parts.append(f"## {group.capitalize()}\n")
        for metric in (m for m in own_metrics if m.group == group):
            notes = [f"needs {' and '.join(metric.needs)}"] if metric.needs else []
            notes += ["lower is better"] if metric.better == "lower" else []
            notes += ["pooled over the questions"] if metric.pooled else []
            notes += ["default"] if metric.usual else []
            notes_text = f" ({'; '.join(notes)})" if notes else ""
            text = metric.description.replace("``", "`")
            parts.append(f"**`{metric.name}`**{notes_text}: {text}\n")
    section = "\n".join(parts)
    begin = "<!-- metrics: made by `python -m tests.test_docs` -->"
    return re.sub(
        rf"({re.escape(begin)}\n).*?(<!-- /metrics -->)",
        lambda found: f"{found[1]}\n{section}\n{found[2]}",
        page,
        flags=re.S,
    )


def with_formats(page: str) -> str:
    """The page with the table of formats that the parsers' own words make."""
    rows = ["| format | files | library | kept | not kept | extra |", "|---|---|---|---|---|---|"]
    for file_format in describe_formats():
        suffixes = " ".join(file_format["suffixes"])
        cells = (
            file_format["name"],
            suffixes,
            file_format["library"],
            file_format["keeps"],
            file_format["drops"],
        )
        rows.append("| " + " | ".join((*cells, file_format["extra"])) + " |")
    table = "\n".join(rows)
    text, replaced = re.subn(
        r"(<!-- formats -->\n).*?(\n<!-- /formats -->)",
        lambda found: found[1] + table + found[2],
        page,
        flags=re.S,
    )
    assert replaced == 1, "the page needs exactly one table between the two comments"
    return text


GALLERY = (
    "chat_with_folder",
    "wiki_bot",
    "nightly_evaluation",
    "invoices_to_table",
    "compare_contracts",
)


def gallery() -> str:
    """Return the page with the programs of the gallery."""
    parts = [
        "# Gallery\n\nFive complete programs of under fifty lines each, to start from. The tests run "
        "all of them.\nThis page is generated from `pipelines/gallery`: "
        "`python -m tests.test_docs`.\n"
    ]
    for name in GALLERY:
        source = (ROOT / "pipelines" / "gallery" / f"{name}.py").read_text(encoding="utf-8")
        title = name.replace("_", " ").capitalize()
        parts.append(f'## {title}\n\n```py title="pipelines/gallery/{name}.py"\n{source}```\n')
    return "\n".join(parts)


def test_the_gallery_is_current() -> None:
    assert (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8") == gallery()


def reference() -> str:
    parts = [
        "# The command line\n\nGenerated from the command itself: `python -m tests.test_docs`.\n"
    ]
    for context in contexts(cli, "rag"):
        help_text = context.command.get_help(context).rstrip()
        parts.append(f"## {context.command_path}\n\n```\n{help_text}\n```\n")
    return "\n".join(parts)


def contexts(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """Those in which click prints the help of `command` and of all below it."""
    settings = {"terminal_width": 90, **command.context_settings}
    context = click.Context(command, parent=parent, info_name=name, **settings)
    yield context
    if isinstance(command, click.Group):
        for name in sorted(n for n, c in command.commands.items() if not c.hidden):
            yield from contexts(command.commands[name], name, context)


if __name__ == "__main__":
    (ROOT / "docs" / "api.md").write_text(public_names(), encoding="utf-8")
    (ROOT / "docs" / "cli.md").write_text(reference(), encoding="utf-8")
    (ROOT / "docs" / "gallery.md").write_text(gallery(), encoding="utf-8")
    sources = ROOT / "docs" / "sources.md"
    sources.write_text(with_formats(sources.read_text(encoding="utf-8")), encoding="utf-8")
    metrics = ROOT / "docs" / "metrics.md"
    metrics.write_text(with_metrics(metrics.read_text(encoding="utf-8")), encoding="utf-8")

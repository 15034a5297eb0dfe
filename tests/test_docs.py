"""What the docs say runs, runs."""

import re
from pathlib import Path

import click
import pytest

from rag.cli import cli
from rag.cli.formats import known_formats
from tests.conftest import HANDBOOK, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
RETRIEVAL = (ROOT / "docs" / "retrieval.md").read_text(encoding="utf-8")
GENERATION = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8")
PAGES = README + SOURCES + RETRIEVAL + GENERATION
PYTHON = re.findall(r"```python\n(.*?)```", PAGES, re.S)
YAML = re.findall(r"```yaml\n(.*?)```", PAGES, re.S)


@pytest.mark.parametrize("block", range(len(PYTHON)))
def test_readme_python(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "handbook.md").write_text(HANDBOOK)
    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON[block], f"README.md block {block}", "exec"), {})  # noqa: S102
    if block == 0:
        out = capsys.readouterr().out
        assert "1 added, 0 updated, 0 unchanged" in out
        assert "A full battery lasts 34 minutes in calm air. [1]" in out


@pytest.mark.parametrize("text", YAML)
def test_readme_yaml(text: str) -> None:
    from rag import Pipeline

    assert Pipeline.from_yaml(text).to_yaml()


def test_every_link_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_command_line_reference_is_current() -> None:
    """`python -m tests.test_docs` writes it."""
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference()


def test_the_table_of_formats_is_current() -> None:
    """`python -m tests.test_docs` writes it."""
    page = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    assert page == with_formats(page)


def with_formats(page: str) -> str:
    """The page with the table of formats that the parsers' own words make."""
    rows = ["| format | files | library | kept | not kept | extra |", "|---|---|---|---|---|---|"]
    for found in known_formats():
        suffixes = " ".join(found["suffixes"])
        cells = (found["name"], suffixes, found["library"], found["keeps"], found["drops"])
        rows.append("| " + " | ".join((*cells, found["extra"])) + " |")
    table = "\n".join(rows)
    return re.sub(
        r"<!-- formats -->\n.*?\n\n(?=What is not)",
        f"<!-- formats -->\n{table}\n\n",
        page,
        flags=re.S,
    )


def reference() -> str:
    parts = [
        "# The command line\n\nGenerated from the command itself: `python -m tests.test_docs`.\n"
    ]
    for path, command in commands(cli, ("rag",)):
        context = click.Context(command, info_name=" ".join(path), terminal_width=90)
        parts.append(f"## {' '.join(path)}\n\n```\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def commands(
    command: click.Command, path: tuple[str, ...]
) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            found += commands(command.commands[name], (*path, name))
    return found


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(reference(), encoding="utf-8")
    sources = ROOT / "docs" / "sources.md"
    sources.write_text(with_formats(sources.read_text(encoding="utf-8")), encoding="utf-8")

"""What the docs say runs, runs."""

import re
from pathlib import Path

import click
import pytest

from evals.metrics import GROUPS, all_metrics
from rag.cli import cli
from rag.cli.formats import known_formats
from tests.conftest import HANDBOOK, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
RETRIEVAL = (ROOT / "docs" / "retrieval.md").read_text(encoding="utf-8")
GENERATION = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8")
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
PAGES = README + SOURCES + RETRIEVAL + GENERATION + EVALUATION
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


def test_the_list_of_metrics_is_current() -> None:
    """`python -m tests.test_docs` writes it."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == with_metrics(page)


def with_metrics(page: str) -> str:
    """The page with every metric of ours, as its docstring describes it."""
    known = [m for m in all_metrics().values() if str(m.function.__module__).startswith("evals.")]
    parts = []
    for group in GROUPS:
        parts.append(f"## {group.capitalize()}\n")
        for metric in (m for m in known if m.group == group):
            notes = [f"needs {' and '.join(metric.needs)}"] if metric.needs else []
            notes += ["lower is better"] if metric.better == "lower" else []
            notes += ["pooled over the questions"] if metric.pooled else []
            notes += ["usual"] if metric.usual else []
            said = f" ({'; '.join(notes)})" if notes else ""
            text = metric.description.replace("``", "`")
            parts.append(f"**`{metric.name}`**{said}: {text}\n")
    made = "\n".join(parts)
    begin = "<!-- metrics: made by `python -m tests.test_docs` -->"
    return re.sub(
        rf"({re.escape(begin)}\n).*?(<!-- /metrics -->)",
        lambda found: f"{found[1]}\n{made}\n{found[2]}",
        page,
        flags=re.S,
    )


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
    metrics = ROOT / "docs" / "metrics.md"
    metrics.write_text(with_metrics(metrics.read_text(encoding="utf-8")), encoding="utf-8")

"""The map of the tree and the picture of its layers, drawn from the code.

`python -m tests.architecture` writes both; `test_architecture.py` checks that they are current.
"""

import ast
import html
import re
import tomllib
from pathlib import Path

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGES = ("rag", "connectors", "prompts", "evals", "pipelines")
SECTION = re.compile(r"(<!-- map: begin -->\n).*?(<!-- map: end -->)", re.DOTALL)

WIDTH, ROW_HEIGHT, BOX_HEIGHT, MARGIN, GAP = 940, 62, 46, 12, 10


def read_layers() -> list[list[str]]:
    """Layers of the import contract in pyproject.toml, from the top, each a list of modules."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [
        contract
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    return [re.split(r"\s*[:|]\s*", layer) for layer in contract["layers"]]


def list_rooms() -> list[str]:
    """Modules that the layers must cover: the packages, and in `rag` its parts."""
    parts = {
        f"rag.{path.stem}"
        for path in (ROOT / "rag").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
        and not path.stem.startswith("__")
    }
    return sorted(parts | (set(PACKAGES) - {"rag"}))


def module_path(module: str) -> Path:
    """File of a module, or the ``__init__.py`` of a package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def summarize(path: Path) -> str:
    """First sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ").rstrip(".")


def draw() -> str:
    """The layers as an SVG picture: imports go downwards only."""
    layers = read_layers()
    height = len(layers) * ROW_HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' aria-label="Layers of the code: a module imports only from lower layers"'
        ' font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for row, modules in enumerate(layers):
        top = MARGIN + row * ROW_HEIGHT
        box_width = (WIDTH - 2 * MARGIN - (len(modules) - 1) * GAP) / len(modules)
        for column, module in enumerate(modules):
            box_left = MARGIN + column * (box_width + GAP)
            lines.append(
                f'<rect x="{box_left:.0f}" y="{top}" width="{box_width:.0f}" height="{BOX_HEIGHT}"'
                ' rx="6" fill="#e0f2f1" stroke="#00796b"/>'
            )
            center = box_left + box_width / 2
            lines.append(
                f'<text x="{center:.0f}" y="{top + 20}" text-anchor="middle" font-size="14"'
                f' font-weight="600" fill="#004d40">{module}</text>'
            )
            summary = shorten(summarize(module_path(module)), int(box_width / 6.2))
            lines.append(
                f'<text x="{center:.0f}" y="{top + 37}" text-anchor="middle" font-size="11"'
                f' fill="#37474f">{html.escape(summary)}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


def shorten(text: str, characters: int) -> str:
    """Cut `text` at a word so that it has at most so many characters."""
    text = text.replace("`", "")
    if len(text) <= characters:
        return text
    words = text[: characters - 1].rpartition(" ")[0]
    return f"{words.rstrip(' ,:;')} …" if words else ""


def list_tree() -> str:
    """Every package with its modules and what they hold, as Markdown."""
    lines: list[str] = []
    for package in PACKAGES:
        for init in sorted((ROOT / package).rglob("__init__.py")):
            folder = init.parent
            lines += ["", f"**`{folder.relative_to(ROOT)}/`** {summarize(init)}.", ""]
            lines += [
                f"- `{path.name}`: {summarize(path)}"
                for path in sorted(folder.glob("*.py"))
                if path.name != "__init__.py"
            ]
    return "\n".join(lines) + "\n\n"


def with_map(page: str) -> str:
    """The page with the current map of the tree."""
    return SECTION.sub(lambda match: f"{match[1]}{list_tree()}{match[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_text(draw(), encoding="utf-8")

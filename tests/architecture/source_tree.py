"""The repository's own source as data: its files, their syntax trees, the names they use."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "shardline"


def modules(*folders: str) -> list[Path]:
    """Python files below folders of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tracked_files() -> list[Path]:
    """Files under version control that exist."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def room(path: Path) -> str:
    """Top-level package or module of shardline that a source file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def syntax_tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def names_used(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything imported, and of attributes reached through imports."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        for alias, name in _imported(node):
            aliases[alias] = name
            yield name
    for node in ast.walk(tree):
        chain = _attribute_chain(node)
        if chain and chain[0] in aliases:
            yield ".".join((aliases[chain[0]], *chain[1:]))


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for item in node.names:
            yield (
                item.asname or item.name.partition(".")[0],
                (item.name if item.asname else item.name.partition(".")[0]),
            )
            if not item.asname and "." in item.name:
                yield item.name, item.name
    elif isinstance(node, ast.ImportFrom) and node.module:
        for item in node.names:
            yield item.asname or item.name, f"{node.module}.{item.name}"


def _attribute_chain(node: ast.AST) -> list[str]:
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.append(node.attr)
        node = node.value
    return [node.id, *reversed(chain)] if isinstance(node, ast.Name) and chain else []

"""Sizes and docstrings: a module is read in one sitting, a function on one screen."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source_tree import ROOT, modules, syntax_tree

from shardline.cli import VERBS

MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_JOB_LINES = 40
DRAWERS = {"utils", "util", "helpers", "common", "manager", "misc"}

SOURCE = modules("src", "jobs", "cluster")


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_modules_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): num_lines(path) for path in SOURCE}
    assert {name: n for name, n in lengths.items() if n > MAX_MODULE_LINES} == {}


def test_jobs_are_entries_only() -> None:
    lengths = {path.name: num_lines(path) for path in modules("jobs")}
    assert lengths != {}
    assert {name: n for name, n in lengths.items() if n > MAX_JOB_LINES} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{path.relative_to(ROOT)}:{function.name}": function.end_lineno - function.lineno + 1
        for path in SOURCE
        for function in functions(syntax_tree(path))
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}


def test_modules_say_what_they_are() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules("src", "jobs", "cluster", "examples", "benchmarks")
        if not ast.get_docstring(syntax_tree(path))
    ]
    assert silent == []


def test_modules_are_no_drawers() -> None:
    assert [str(path) for path in SOURCE if path.stem in DRAWERS] == []


def test_jobs_cover_the_verbs() -> None:
    assert {path.stem for path in modules("jobs")} == set(VERBS)

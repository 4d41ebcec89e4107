"""The builder's source code, collected on the driver and laid out again on workers.

The driver never imports it: that would load TensorFlow where only plans are made. So a mistake in
the code's shape (no such module, no such function, a syntax error) is found by parsing alone.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from shardline.errors import ModelError
from shardline.spec import Spec

Builder = Callable[..., Any]

_folders: dict[str, tempfile.TemporaryDirectory[str]] = {}


@dataclass(frozen=True, slots=True)
class ModelCode:
    """A builder that can travel to any worker."""

    builder: str
    """`module:function`."""
    files: tuple[tuple[str, str], ...]
    """Relative path and text of the local modules it consists of, sorted."""
    function: Builder | None
    """The builder itself when it was given as a Python function."""
    digest: str
    """Sha256 of what decides the builder's behaviour."""


def collect_code(spec: Spec) -> ModelCode:
    """The builder's module and every local module that it imports.

    Raises:
        ModelError: The module or the function does not exist, or does not parse.
    """
    builder = spec.model.builder
    if not isinstance(builder, str):
        return _code_of_function(builder)
    module, _, function = builder.partition(":")
    files = dict(_local_modules(spec.base, module))
    if files:
        _check_defines(files[_first_path(spec.base, module)], function, builder)
    elif not _is_installed(module):
        raise ModelError(
            f"model.builder {builder!r}: there is no {module}.py in {spec.base} and no installed "
            f"module {module!r}; write one or fix model.builder."
        )
    ordered = tuple(sorted(files.items()))
    return ModelCode(builder, ordered, None, _digest(builder, repr(ordered)))


def load_builder(code: ModelCode) -> Builder:
    """Import the builder from code that `collect_code` gathered.

    Raises:
        ModelError: Importing it fails; the message carries the original error.
    """
    if code.function is not None:
        return code.function
    module_name, _, function = code.builder.partition(":")
    try:
        module = _import_from(code, module_name)
    except Exception as error:  # the user's module may raise anything at import
        raise ModelError(
            f"model.builder {code.builder!r} does not import: {type(error).__name__}: {error}."
        ) from error
    if not callable(getattr(module, function, None)):
        raise ModelError(f"model.builder {code.builder!r}: {module_name} has no such function.")
    builder: Builder = getattr(module, function)
    return builder


def _code_of_function(function: Builder) -> ModelCode:
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = repr((function.__code__.co_code, function.__code__.co_consts))
    name = f"{function.__module__}:{function.__qualname__}"
    return ModelCode(name, (), function, _digest(name, text))


def _local_modules(base: Path, module: str) -> Iterator[tuple[str, str]]:
    """Relative path and text of `module` and, transitively, of what it imports from `base`."""
    pending, seen = [module], set[str]()
    while pending:
        name = pending.pop()
        path = _path_of(base, name)
        if path is None or path.as_posix() in seen:
            continue
        seen.add(path.as_posix())
        text = _text_of(base, path)
        yield path.as_posix(), text
        pending += _imported_names(text, path)


def _text_of(base: Path, path: Path) -> str:
    try:
        return (base / path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"model.builder: {path} is not UTF-8 text; save it as UTF-8.") from error


def _path_of(base: Path, module: str) -> Path | None:
    relative = Path(*module.split("."))
    for candidate in (relative.with_suffix(".py"), relative / "__init__.py"):
        if (base / candidate).is_file():
            return candidate
    return None


def _first_path(base: Path, module: str) -> str:
    path = _path_of(base, module)
    return path.as_posix() if path else ""


def _imported_names(text: str, path: Path) -> Iterator[str]:
    """Dotted names that a module may import, its parent packages included."""
    for node in ast.walk(_parsed(text, path.as_posix())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = path.parent.parts[: len(path.parent.parts) - node.level + 1]
            prefix = ".".join((*parents, node.module or "")) if node.level else node.module or ""
            names = [prefix, *(f"{prefix}.{alias.name}".strip(".") for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.strip(".").split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _parsed(text: str, filename: str) -> ast.Module:
    try:
        return ast.parse(text, filename)
    except SyntaxError as error:
        raise ModelError(
            f"model.builder: {filename} line {error.lineno} is not Python: {error.msg}."
        ) from error
    except ValueError as error:  # null bytes, until Python 3.12
        raise ModelError(f"model.builder: {filename} is not Python: {error}.") from error


def _check_defines(text: str, function: str, builder: str) -> None:
    names: set[str] = set()
    for node in _parsed(text, builder).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    if function not in names and "*" not in names:
        raise ModelError(
            f"model.builder {builder!r}: the module defines no {function!r}; "
            f"it has {', '.join(sorted(names)) or 'nothing'}."
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.split(".")[0]) is not None
    except ValueError:
        return False


def _import_from(code: ModelCode, module: str) -> ModuleType:
    if not code.files:
        return importlib.import_module(module)
    folder = _laid_out(code)
    # First of all, and for good: builders may import when they are called.
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]
    for relative, _ in code.files:
        # A reused process may hold another builder's module of the same name.
        sys.modules.pop(_module_name(relative), None)
    importlib.invalidate_caches()
    return importlib.import_module(module)


def _laid_out(code: ModelCode) -> Path:
    """A folder with the code that belongs to this process alone, gone when the process is."""
    if code.digest not in _folders:
        _folders[code.digest] = tempfile.TemporaryDirectory(prefix="shardline-code-")
    folder = Path(_folders[code.digest].name)
    for relative, text in code.files:
        file = folder / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def _module_name(relative: str) -> str:
    return ".".join(Path(relative).with_suffix("").parts).removesuffix(".__init__")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

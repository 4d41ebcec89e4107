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
from shardline.spec.revision import CodeRevision, code_revision

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
    revision: CodeRevision | None = None
    """The commit that the source files belong to."""


def collect_code(spec: Spec) -> ModelCode:
    """The builder's module, those of the user's callbacks, and every local module they import.

    Raises:
        ModelError: A module, the function or a class does not exist, or does not parse.
    """
    builder = spec.model.builder
    named = [("train.callbacks", each.name) for each in spec.train.callbacks if each.is_own]
    if isinstance(builder, str):
        named.insert(0, ("model.builder", builder))
    files: dict[str, str] = {}
    for key, name in named:
        files |= _files_of(spec.base, name, key)
    ordered = tuple(sorted(files.items()))
    if not isinstance(builder, str):
        return _code_of_function(builder, ordered)
    revision = code_revision(spec.base, list(files))
    return ModelCode(builder, ordered, None, _digest(builder, repr(ordered)), revision)


def load_builder(code: ModelCode) -> Builder:
    """Import the builder from code that `collect_code` gathered.

    Raises:
        ModelError: Importing it fails; the message carries the original error.
    """
    if code.function is not None:
        return code.function
    # Anew each time: what a builder finds in its module must not depend on who built before.
    _forget(code)
    builder: Builder = load_attribute(code, code.builder, key="model.builder")
    return builder


def load_attribute(code: ModelCode, name: str, *, key: str) -> Any:
    """Import a function or class from code that `collect_code` gathered.

    Args:
        code: The code.
        name: `module:name`.
        key: The spec's key that names it.

    Raises:
        ModelError: Importing it fails; the message carries the original error.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = _import_from(code, module_name)
    except Exception as error:  # the user's module may raise anything at import
        raise ModelError(
            f"{key} {name!r} does not import: {type(error).__name__}: {error}."
        ) from error
    if not callable(getattr(module, attribute, None)):
        raise ModelError(f"{key} {name!r}: {module_name} has no such function.")
    return getattr(module, attribute)


def _files_of(base: Path, name: str, key: str) -> dict[str, str]:
    """Path and text of the local modules behind `module:name`; none when it is installed."""
    module, _, attribute = name.partition(":")
    files = dict(_local_modules(base, module))
    if files:
        _check_defines(files[_first_path(base, module)], attribute, f"{key} {name!r}")
    elif not _is_installed(module):
        raise ModelError(
            f"{key} {name!r}: there is no {module}.py in {base} and no installed "
            f"module {module!r}; write one or fix {key}."
        )
    return files


def _code_of_function(function: Builder, files: tuple[tuple[str, str], ...]) -> ModelCode:
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = repr((function.__code__.co_code, function.__code__.co_consts))
    name = f"{function.__module__}:{function.__qualname__}"
    parts = (text, repr(files)) if files else (text,)
    return ModelCode(name, files, function, _digest(name, *parts), _revision_of(function))


def _revision_of(function: Builder) -> CodeRevision | None:
    try:
        file = Path(inspect.getsourcefile(function) or "")
    except TypeError:
        return None
    return code_revision(file.parent, [file.name]) if file.is_file() else None


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


def _check_defines(text: str, attribute: str, what: str) -> None:
    names: set[str] = set()
    for node in _parsed(text, what).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    if attribute not in names and "*" not in names:
        raise ModelError(
            f"{what}: the module defines no {attribute!r}; "
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
    if not all(_is_from(folder, relative) for relative, _ in code.files):
        _forget(code)  # a reused process may hold another builder's module of the same name
    importlib.invalidate_caches()
    return importlib.import_module(module)


def _forget(code: ModelCode) -> None:
    for relative, _ in code.files:
        sys.modules.pop(_module_name(relative), None)


def _is_from(folder: Path, relative: str) -> bool:
    module = sys.modules.get(_module_name(relative))
    return module is None or getattr(module, "__file__", None) == str(folder / relative)


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

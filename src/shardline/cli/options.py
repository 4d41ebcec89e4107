"""What verbs have in common: their SPEC or NAME, `--set`, `--json`, `--store`, and their report."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from shardline.report import Listing, Report, kept_stdout, write_json, write_rows, write_table


def spec_options(function: Callable[..., Report | None]) -> Callable[..., None]:
    """Add SPEC, `--set` and `--json`; the command returns its report or None if it wrote it."""

    @click.argument("spec_file", metavar="SPEC", type=click.Path(path_type=Path))
    @click.option("--set", "overrides", metavar="a.b=VALUE", multiple=True, help="Override a key.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
    @wraps(function)
    def command(spec_file: Path, overrides: tuple[str, ...], as_json: bool, **options: Any) -> None:
        from shardline.spec import load_spec

        def run() -> Report | None:
            return function(load_spec(spec_file, overrides=overrides), **options)

        reported(function.__name__, run, as_json=as_json)

    return command


def reported(title: str, run: Callable[[], Report | None], *, as_json: bool) -> None:
    """Do a verb's work and show what came of it, as a table or as one JSON object."""
    if not as_json:
        report = run()
        if report is not None:
            write_table(title, report)
        return
    with kept_stdout() as stdout:
        report = run()
        if report is not None:
            write_json(report, stdout)


address_option = click.option(
    "--address", metavar="HOST:PORT", help="A running Ray cluster; left out, Ray starts here."
)


store_option = click.option(
    "--store", "store_uri", envvar="SHARDLINE_STORE", default="./store", show_default=True,
    help="Folder or URI; also SHARDLINE_STORE.",
)  # fmt: skip


def look_around(function: Callable[..., Listing]) -> Callable[..., None]:
    """Add NAME, `--store` and `--json` to a command that lists what a store holds."""

    @click.argument("name", required=False)
    @store_option
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
    @wraps(function)
    def command(name: str | None, store_uri: str, as_json: bool, **options: Any) -> None:
        parts = function(name, store_uri, **options)
        if as_json:
            write_json(parts, sys.stdout)
            return
        for title, items in parts.items():
            write_rows(title, items, store_uri)

    return command


def write_text(file: Path, text: str, *, option: str) -> None:
    """Write a file that an option named, and say so."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{option} {file} cannot be written: {error.strerror}.") from error
    click.echo(f"wrote {file}", err=True)

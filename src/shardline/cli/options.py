"""What verbs have in common: their SPEC or NAME, `--set`, `--json`, `--store`, and their report."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from shardline.report import Listing, Report, kept_stdout, write_json, write_rows, write_table

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
overrides_option = click.option(
    "--set", "overrides", metavar="a.b=VALUE", multiple=True, help="Override a key."
)
address_option = click.option(
    "--address", metavar="HOST:PORT", help="A running Ray cluster; left out, Ray starts here."
)
store_option = click.option(
    "--store", "store_uri", envvar="SHARDLINE_STORE", default="./store", show_default=True,
    help="Folder or URI; also SHARDLINE_STORE.",
)  # fmt: skip


def spec_options(function: Callable[..., Report | None]) -> Callable[..., None]:
    """Add SPEC, `--set` and `--json`; the command returns its report or None if it wrote it."""

    @click.argument("spec_file", metavar="SPEC", type=click.Path(path_type=Path))
    @overrides_option
    @json_option
    @wraps(function)
    def command(spec_file: Path, overrides: tuple[str, ...], as_json: bool, **options: Any) -> None:
        from shardline.spec import load_spec

        def run() -> Report | None:
            return function(load_spec(spec_file, overrides=overrides), **options)

        reported(function.__name__, run, as_json=as_json)

    return command


def run_options(function: Callable[..., Report | None]) -> Callable[..., None]:
    """Add SPEC or RUN[@STEP], `--step`, `--store`, `--set` and `--json`; passes spec and step."""

    @click.argument("source", metavar="SPEC|RUN[@STEP]")
    @click.option("--step", type=click.IntRange(min=0), help="Checkpoint of a SPEC's run.")
    @click.option(
        "--store", "store_uri", envvar="SHARDLINE_STORE",
        help="Where a RUN is; also SHARDLINE_STORE.  [default: ./store]",
    )  # fmt: skip
    @overrides_option
    @json_option
    @wraps(function)
    def command(
        source: str, overrides: tuple[str, ...], as_json: bool,
        step: int | None, store_uri: str | None, **options: Any,
    ) -> None:  # fmt: skip
        from shardline.recorded import parse_run, recorded_spec
        from shardline.spec import load_spec

        reference = parse_run(source)
        given = click.get_current_context().get_parameter_source("store_uri")
        if reference is None and given is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("a SPEC names its store itself; --set store=URI overrides it.")
        if reference is not None and reference.step is not None and step is not None:
            raise click.UsageError(f"{source} names a step already; leave --step out.")

        def run() -> Report | None:
            if reference is None:
                return function(load_spec(source, overrides=overrides), step=step, **options)
            opened = recorded_spec(store_uri or "./store", reference.run, overrides=overrides)
            with opened as spec:
                chosen = step if reference.step is None else reference.step
                return function(spec, step=chosen, **options)

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


def look_around(function: Callable[..., Listing]) -> Callable[..., None]:
    """Add NAME, `--store` and `--json` to a command that lists what a store holds."""

    @click.argument("name", required=False)
    @store_option
    @json_option
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

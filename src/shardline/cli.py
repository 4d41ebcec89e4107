"""The command line: one verb per stage of the line. Heavy imports happen inside the verbs."""

import sys
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardline.errors import ShardlineError
from shardline.report import (
    Listing,
    Report,
    as_report,
    kept_stdout,
    one_line,
    write_json,
    write_rows,
    write_table,
)

if TYPE_CHECKING:  # the spec's models take 0.2 s to import, which --help must not pay
    from shardline.spec import Spec

INTERRUPTED = 130
TERMINATED = 143
CONTINUES = "the same command continues where this one stopped."
VERBS = (
    "validate", "prepare", "train", "evaluate", "export", "promote", "score", "serve", "run",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shardline")
def commands() -> None:
    """Train plain Keras 3 models on many workers, freeze them, serve and batch-score them, on Ray.

    The line: prepare, train, evaluate, export, then score and serve. `run` is everything up to the
    alias. Every verb continues where an earlier call of it stopped.
    """


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code: 0 done, 1 the work failed, 2 the input was wrong."""
    try:
        code = commands.main(args=list(arguments), prog_name="shardline", standalone_mode=False)
    except SystemExit:  # so a session is left on SIGTERM; Ray replaces the code by 1
        click.echo(f"terminated; {CONTINUES}", err=True)
        return TERMINATED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the outermost boundary
        if "--json" in arguments:
            write_json({"error": _sentence(error), "kind": type(error).__name__}, sys.stdout)
        return _say(error)
    return int(code or 0)


def _say(error: BaseException) -> int:
    """Put one sentence last on stderr; the exit code that goes with it."""
    if isinstance(error, click.ClickException):
        error.show()
        return 2
    expected = isinstance(error, ShardlineError | KeyboardInterrupt | click.Abort)
    if not expected:
        traceback.print_exception(error)
    click.echo(_sentence(error), err=True)
    if isinstance(error, ShardlineError):
        return error.exit_code
    return INTERRUPTED if expected else 1


def _sentence(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, ShardlineError):
        return one_line(error.message)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return f"interrupted; {CONTINUES}"
    return one_line(f"unexpected {type(error).__name__}: {error}; this is a bug.")


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

        _reported(function.__name__, run, as_json=as_json)

    return command


def _reported(title: str, run: Callable[[], Report | None], *, as_json: bool) -> None:
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


@commands.command()
@click.argument("spec_file", metavar="[SPEC]", required=False, type=click.Path(path_type=Path))
@click.option("--set", "overrides", metavar="a.b=VALUE", multiple=True, help="Override a key.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of spec files, for editors.")
def validate(
    spec_file: Path | None, overrides: tuple[str, ...], as_json: bool, schema: bool
) -> None:
    """Check a spec, its source and its builder without starting Ray."""
    if schema:
        from shardline.spec import json_schema

        write_json(json_schema(), sys.stdout)
        return
    if spec_file is None:
        raise click.UsageError("name a SPEC file, or ask for --schema.")

    def run() -> Report:
        from shardline import line
        from shardline.spec import load_spec

        return as_report(line.validate(load_spec(spec_file, overrides=overrides)))

    _reported("validate", run, as_json=as_json)


@commands.command()
@spec_options
def prepare(spec: "Spec") -> Report:
    """Turn the raw source into an immutable dataset version."""
    from shardline import line

    return as_report(line.prepare(spec))


@commands.command()
@spec_options
@address_option
@click.option("--restart", is_flag=True, help="Discard the run's checkpoints and begin again.")
def train(spec: "Spec", address: str | None, restart: bool) -> Report:
    """Train on the prepared dataset, continuing the run if it was interrupted."""
    from shardline import line

    return as_report(line.train(spec, address=address, restart=restart))


@commands.command()
@spec_options
@address_option
def evaluate(spec: "Spec", address: str | None) -> Report:
    """Measure the chosen checkpoint on every row of the held-out split."""
    from shardline import line

    return as_report(line.evaluate(spec, address=address))


@commands.command()
@spec_options
@address_option
def export(spec: "Spec", address: str | None) -> Report:
    """Freeze the chosen checkpoint into a registry version and move the spec's alias to it."""
    from shardline import line

    return as_report(line.export(spec, address=address))


@commands.command()
@spec_options
@click.option("--version", type=int, help="Version to promote; the newest when left out.")
@click.option("--alias", help="Alias to move; the spec's when left out.")
def promote(spec: "Spec", version: int | None, alias: str | None) -> Report:
    """Move an alias to a version that passes the spec's gate."""
    from shardline import line

    return as_report(line.promote(spec, version=version, alias=alias))


@commands.command()
@spec_options
@address_option
def score(spec: "Spec", address: str | None) -> Report:
    """Score files in bulk with the registered model; a rerun does only what is missing."""
    from shardline import line

    return as_report(line.score(spec, address=address))


@commands.command()
@spec_options
@address_option
def run(spec: "Spec", address: str | None) -> Report:
    """The whole line up to the alias: prepare, train, evaluate, export."""
    from shardline import line

    return as_report(line.run(spec, address=address))


@commands.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--set", "overrides", metavar="a.b=VALUE", multiple=True, help="Override a key.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, when ready.")
@address_option
def serve(spec_file: Path, overrides: tuple[str, ...], as_json: bool, address: str | None) -> None:
    """Answer HTTP requests with the registered model until interrupted."""
    from shardline import line
    from shardline.spec import load_spec

    with (
        kept_stdout() as stdout,
        line.serve(load_spec(spec_file, overrides=overrides), address=address) as endpoint,
    ):
        report = {"url": endpoint.url, "model": endpoint.model, "version": endpoint.version}
        if as_json:
            write_json(report, stdout)
        else:
            stdout.write(f"serving {endpoint.model} version {endpoint.version} at {endpoint.url}\n")
            stdout.flush()
        line.wait_for_signal()


@commands.command()
@click.argument("verb", metavar="VERB", type=click.Choice(VERBS))
@click.argument("spec_file", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--address", metavar="URL", required=True, help="The cluster's dashboard address.")
@click.option("--set", "overrides", metavar="a.b=VALUE", multiple=True, help="Override a key.")
def submit(verb: str, spec_file: Path, address: str, overrides: tuple[str, ...]) -> int:
    """Run a verb as a job on a remote cluster; logs stream here, its exit status is ours."""
    from shardline.cluster.submit import submit as submit_job

    extra = [argument for override in overrides for argument in ("--set", override)]
    return submit_job(verb, spec_file, address=address, extra_args=extra)


def look_around(function: Callable[..., Listing]) -> Callable[..., None]:
    """Add NAME, `--store` and `--json` to a command that lists what a store holds."""

    @click.argument("name", required=False)
    @click.option(
        "--store", "store_uri", envvar="SHARDLINE_STORE", default="./store", show_default=True,
        help="Folder or URI; also SHARDLINE_STORE.",
    )  # fmt: skip
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


@commands.command()
@look_around
@click.option("--version", help="Version whose columns to show; the current one when left out.")
@click.option(
    "--html", "page_file", metavar="FILE", type=click.Path(path_type=Path),
    help="Also write all that is known of the dataset's columns as a page for a browser.",
)  # fmt: skip
@click.option(
    "--pin", "pin_file", metavar="FILE", type=click.Path(path_type=Path),
    help="Also write the columns as a spec declares them: later data then has to agree.",
)  # fmt: skip
def datasets(
    name: str | None,
    store_uri: str,
    version: str | None,
    page_file: Path | None,
    pin_file: Path | None,
) -> Listing:
    """List prepared datasets, or the versions and columns of one."""
    from shardline import inventory

    listed = {"datasets": inventory.datasets(store_uri, name)}
    if name is None:
        if version or page_file or pin_file:
            raise click.UsageError("--version, --html and --pin need the NAME of a dataset.")
        return listed
    columns = inventory.columns(store_uri, name, version)
    if page_file is not None:
        write_text(page_file, inventory.page(store_uri, name, version), option="--html")
    if pin_file is not None:
        write_text(pin_file, inventory.pinned(store_uri, name, version), option="--pin")
    return listed | ({"columns": columns} if columns else {})


@commands.command()
@look_around
def runs(name: str | None, store_uri: str) -> Listing:
    """List training runs, or the epochs and checkpoints of one."""
    from shardline import inventory

    listed = {"runs": inventory.runs(store_uri, name)}
    return listed if name is None else {"epochs": inventory.epochs(store_uri, name), **listed}


@commands.command()
@look_around
def models(name: str | None, store_uri: str) -> Listing:
    """List registered models, or the versions of one."""
    from shardline import inventory

    return {"models": inventory.models(store_uri, name)}

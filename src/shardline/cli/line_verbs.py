"""The verbs that do the line's work, from prepare to promote, rollback, score and serve."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shardline.cli.options import (
    address_option,
    json_option,
    overrides_option,
    reported,
    run_options,
    spec_options,
)
from shardline.report import Report, as_report, kept_stdout, write_json

if TYPE_CHECKING:  # the spec's models take 0.2 s to import, which --help must not pay
    from shardline.spec import Spec

VERBS = (
    "validate", "prepare", "train", "evaluate", "export", "promote", "rollback", "score", "serve",
    "run",
)  # fmt: skip


alias_option = click.option("--alias", help="Alias to move; the spec's when left out.")


@click.command()
@click.argument("spec_file", metavar="[SPEC]", required=False, type=click.Path(path_type=Path))
@overrides_option
@json_option
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

    reported("validate", run, as_json=as_json)


@click.command()
@spec_options
def prepare(spec: "Spec") -> Report:
    """Turn the raw source into an immutable dataset version."""
    from shardline import line

    return as_report(line.prepare(spec))


@click.command()
@spec_options
@address_option
@click.option("--restart", is_flag=True, help="Discard the run's checkpoints and begin again.")
def train(spec: "Spec", address: str | None, restart: bool) -> Report:
    """Train on the prepared dataset, continuing the run if it was interrupted."""
    from shardline import line

    return as_report(line.train(spec, address=address, restart=restart))


@click.command()
@run_options
@address_option
def evaluate(spec: "Spec", step: int | None, address: str | None) -> Report:
    """Measure a checkpoint, by default the best, on every row of the held-out split.

    With RUN[@STEP] in place of a SPEC, spec and builder are those that the run was trained with
    last: the builder's code is taken from the store and run.
    """
    from shardline import line

    return as_report(line.evaluate(spec, address=address, step=step))


@click.command()
@run_options
@address_option
def export(spec: "Spec", step: int | None, address: str | None) -> Report:
    """Freeze a checkpoint, by default the best, into a registry version.

    The spec's alias moves to it if it passes the gate; `--set export.alias=null` leaves it. With
    RUN[@STEP] in place of a SPEC, spec and builder are those that the run was trained with last:
    the builder's code is taken from the store and run.
    """
    from shardline import line

    return as_report(line.export(spec, address=address, step=step))


@click.command()
@spec_options
@click.option("--version", type=int, help="Version to promote; the newest when left out.")
@alias_option
@click.option("--why", default="promoted", help="For the alias's history.")
@address_option
def promote(
    spec: "Spec", version: int | None, alias: str | None, why: str, address: str | None
) -> Report:
    """Move an alias to a version that passes the spec's gate."""
    from shardline import line

    return as_report(line.promote(spec, version=version, alias=alias, why=why, address=address))


@click.command()
@spec_options
@click.option("--to", type=int, help="An earlier holder; the one before this when left out.")
@alias_option
@click.option("--why", default="rolled back", help="For the alias's history.")
def rollback(spec: "Spec", to: int | None, alias: str | None, why: str) -> Report:
    """Move an alias back to a version that held it before, without a gate."""
    from shardline import line

    return as_report(line.rollback(spec, to=to, alias=alias, why=why))


@click.command()
@spec_options
@address_option
def score(spec: "Spec", address: str | None) -> Report:
    """Score files in bulk with the registered model; a rerun does only what is missing."""
    from shardline import line

    return as_report(line.score(spec, address=address))


@click.command()
@spec_options
@address_option
def run(spec: "Spec", address: str | None) -> Report:
    """The whole line up to the alias: prepare, train, evaluate, export."""
    from shardline import line

    return as_report(line.run(spec, address=address))


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(path_type=Path))
@overrides_option
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


@click.command()
@click.argument("verb", metavar="VERB", type=click.Choice(VERBS))
@click.argument("spec_file", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--address", metavar="URL", required=True, help="The cluster's dashboard address.")
@overrides_option
def submit(verb: str, spec_file: Path, address: str, overrides: tuple[str, ...]) -> int:
    """Run a verb as a job on a remote cluster; logs stream here, its exit status is ours."""
    from shardline.cluster.submit import submit as submit_job

    extra = [argument for override in overrides for argument in ("--set", override)]
    return submit_job(verb, spec_file, address=address, extra_args=extra)


COMMANDS = (
    validate, prepare, train, evaluate, export, promote, rollback, score, run, serve, submit,
)  # fmt: skip

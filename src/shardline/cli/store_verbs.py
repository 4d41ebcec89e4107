"""The verbs that show what a store holds of datasets and runs, and tidy it up."""

import sys
from pathlib import Path

import click

from shardline.cli.options import json_option, look_around, store_option, write_text
from shardline.report import Listing, as_report, write_json, write_rows


@click.command()
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


@click.command()
@look_around
@click.option(
    "--checkpoints", "only_checkpoints", is_flag=True,
    help="Show the checkpoints of run NAME: epoch, time, size, metrics, and why each is kept.",
)  # fmt: skip
def runs(name: str | None, store_uri: str, only_checkpoints: bool) -> Listing:
    """List training runs, or the epochs and checkpoints of one."""
    from shardline import inventory

    if only_checkpoints:
        if name is None:
            raise click.UsageError("--checkpoints needs the NAME of a run.")
        return {"checkpoints": inventory.checkpoints(store_uri, name)}
    listed = {"runs": inventory.runs(store_uri, name)}
    return listed if name is None else {"epochs": inventory.epochs(store_uri, name), **listed}


@click.command()
@store_option
@click.option("--delete", is_flag=True, help="Remove it; left out, it is only listed.")
@click.option(
    "--grace-hours", type=click.FloatRange(min=1), default=24.0, show_default=True,
    help="What changed more recently stays.",
)  # fmt: skip
@json_option
def gc(store_uri: str, delete: bool, grace_hours: float, as_json: bool) -> None:
    """List what nothing in a store refers to, and remove it with --delete.

    Checkpoints, model versions, datasets and scores that were never completed, dataset versions
    that no run, model, score or current pointer mentions, what dead processes left. Never what is
    young, read, or of a run that may be training.
    """
    from shardline.garbage.collect import collect_garbage

    found = collect_garbage(store_uri, grace_hours=grace_hours, delete=delete)
    if as_json:
        write_json(as_report(found), sys.stdout)
        return
    write_rows("garbage", found.items, store_uri)
    if found.items:
        said = f"{found.objects} objects of {found.size_bytes:,} bytes"
        click.echo(f"removed {said}." if delete else f"{said} would go; --delete removes them.")


COMMANDS = (datasets, runs, gc)

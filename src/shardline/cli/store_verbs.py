"""The verbs that show what a store holds: datasets and runs."""

from pathlib import Path

import click

from shardline.cli.options import look_around, write_text
from shardline.report import Listing


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
def runs(name: str | None, store_uri: str) -> Listing:
    """List training runs, or the epochs and checkpoints of one."""
    from shardline import inventory

    listed = {"runs": inventory.runs(store_uri, name)}
    return listed if name is None else {"epochs": inventory.epochs(store_uri, name), **listed}


COMMANDS = (datasets, runs)

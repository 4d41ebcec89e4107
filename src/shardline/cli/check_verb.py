"""The verb that looks through a model from elsewhere."""

from pathlib import Path

import click

from shardline.cli.options import json_option, reported


@click.command()
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@json_option
def check(path: Path, as_json: bool) -> None:
    """Look through a SavedModel folder, a .keras or an .h5 file without loading it.

    Exit code 0: nothing in it runs code, opens other files or unfolds beyond its size. 1: refused.
    """
    from shardline.artifacts.safety import check_model

    reported(
        "check", lambda: {"model": str(path), "format": check_model(path), "safe": True},
        as_json=as_json,
    )  # fmt: skip


COMMANDS = (check,)

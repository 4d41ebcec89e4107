"""The verbs that look after the registry: models, delete, lineage."""

from pathlib import Path

import click

from shardline.cli.options import look_around, reported, store_option
from shardline.report import Listing, Report


@click.command()
@look_around
@click.option("--history", is_flag=True, help="Also every move of the model's aliases.")
def models(name: str | None, store_uri: str, history: bool) -> Listing:
    """List registered models, or every version of one and what became of it."""
    from shardline import model_inventory

    if name is None:
        if history:
            raise click.UsageError("--history needs the NAME of a model.")
        return {"models": model_inventory.models(store_uri)}
    listed = {"models": model_inventory.versions(store_uri, name)}
    return listed | ({"history": model_inventory.history(store_uri, name)} if history else {})


@click.command()
@click.argument("reference", metavar="models/NAME/VERSION")
@store_option
@click.option("--why", default="", help="Stays on record with who and when.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def delete(reference: str, store_uri: str, why: str, as_json: bool) -> None:
    """Delete a model version that no alias points to; its number is never used again."""

    def run() -> Report:
        from shardline.artifacts.author import current_author
        from shardline.artifacts.deletion import delete_version
        from shardline.lineage.references import ModelReference, parse_reference
        from shardline.spec.locations import absolute
        from shardline.store import open_store

        wanted = parse_reference(reference)
        if not isinstance(wanted, ModelReference) or wanted.version is None:
            raise click.UsageError(
                f"{reference!r} names no model version; write models/NAME/VERSION."
            )
        store = open_store(absolute(store_uri, base=Path.cwd()))
        gone = delete_version(store, wanted.name, wanted.version, why=why, author=current_author())
        return {"model": gone.model, "version": gone.version, "who": gone.who, "why": gone.why}

    reported("delete", run, as_json=as_json)


COMMANDS = (models, delete)

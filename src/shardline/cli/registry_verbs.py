"""The verbs that look after the registry: models, delete, lineage."""

import sys
from pathlib import Path

import click

from shardline.cli.options import json_option, look_around, reported, store_option, write_text
from shardline.report import Listing, Report, as_report, write_json


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
@json_option
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


@click.command()
@click.argument("reference", metavar="REF")
@store_option
@click.option(
    "--html", "page_file", metavar="FILE", type=click.Path(path_type=Path),
    help="Also draw it as a page for a browser.",
)  # fmt: skip
@json_option
def lineage(reference: str, store_uri: str, page_file: Path | None, as_json: bool) -> None:
    """Show what an artifact was made from and what came of it.

    REF is models/NAME/VERSION, models/NAME@ALIAS, datasets/NAME/VERSION, runs/NAME or
    scores/NAME/JOB; a NAME alone means all of them.
    """
    from shardline.lineage.page import lineage_page
    from shardline.lineage.reading import read_graph, roots_of
    from shardline.lineage.references import parse_reference
    from shardline.lineage.tree import tree_lines
    from shardline.spec.locations import absolute
    from shardline.store import Store

    wanted = parse_reference(reference)
    store = Store(absolute(store_uri, base=Path.cwd()))
    whole = read_graph(store)
    roots = roots_of(store, whole, wanted)
    graph = whole.around(roots)
    if page_file is not None:
        write_text(page_file, lineage_page(graph, roots), option="--html")
    if as_json:
        nodes, edges = [*map(as_report, graph.nodes.values())], [*map(as_report, graph.edges)]
        write_json({"roots": roots, "nodes": nodes, "edges": edges}, sys.stdout)
        return
    for root in roots:
        click.echo("\n".join(tree_lines(graph, root)))


COMMANDS = (models, delete, lineage)

"""The group of all verbs, and the exit codes and last words that they share."""

import sys
import traceback
from collections.abc import Sequence

import click

from shardline.cli import check_verb, line_verbs, registry_verbs, store_verbs
from shardline.errors import ShardlineError
from shardline.report import one_line, write_json

INTERRUPTED = 130
TERMINATED = 143
CONTINUES = "the same command continues where this one stopped."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shardline")
def commands() -> None:
    """Train plain Keras 3 models on many workers, freeze them, serve and batch-score them, on Ray.

    The line: prepare, train, evaluate, export, then score and serve. `run` is everything up to the
    alias. Every verb continues where an earlier call of it stopped.
    """


for verb in (
    *line_verbs.COMMANDS,
    *store_verbs.COMMANDS,
    *registry_verbs.COMMANDS,
    *check_verb.COMMANDS,
):
    commands.add_command(verb)


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

"""The command line: one verb per stage of the line. Heavy imports happen inside the verbs."""

from shardline.cli.line_verbs import VERBS
from shardline.cli.main import commands, entry, main

__all__ = ["VERBS", "commands", "entry", "main"]

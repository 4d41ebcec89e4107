"""`python -m shardline`."""

from shardline.cli import entry

entry()

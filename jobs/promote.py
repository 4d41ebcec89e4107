"""`ray job submit … -- python jobs/promote.py SPEC`; the same as `shardline promote SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["promote", *sys.argv[1:]]))

"""`ray job submit … -- python jobs/export.py SPEC`; the same as `shardline export SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))

"""`ray job submit … -- python jobs/prepare.py SPEC`; the same as `shardline prepare SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))

"""`ray job submit … -- python jobs/run.py SPEC`; the same as `shardline run SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))

"""`ray job submit … -- python jobs/score.py SPEC`; the same as `shardline score SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))

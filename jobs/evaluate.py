"""`ray job submit … -- python jobs/evaluate.py SPEC`; the same as `shardline evaluate SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))

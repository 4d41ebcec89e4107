"""`ray job submit … -- python jobs/train.py SPEC`; the same as `shardline train SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))

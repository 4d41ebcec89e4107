"""`ray job submit … -- python jobs/serve.py SPEC`; the same as `shardline serve SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))

"""`ray job submit … -- python jobs/validate.py SPEC`; the same as `shardline validate SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["validate", *sys.argv[1:]]))

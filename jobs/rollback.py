"""`ray job submit … -- python jobs/rollback.py SPEC`; the same as `shardline rollback SPEC`."""

import sys

from shardline.cli import main

if __name__ == "__main__":
    sys.exit(main(["rollback", *sys.argv[1:]]))

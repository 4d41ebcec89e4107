"""Two workers on one model against two independent jobs at the same time: what exchanging costs.

    python benchmarks/scaling.py [--rounds 5]

A convolutional net with little to exchange, one thread each. The limit is two jobs that share the
machine, its caches and its memory, but nothing else: a single job on an idle machine would promise
more than two cores can give. Rows per second are those of the median step.
"""

import argparse
import tempfile
from pathlib import Path

from rig import (
    hand_started,
    image_line,
    interleaved,
    show,
    show_ratio,
    spec_of,
    stamped,
    typical_step_s,
)

LOCAL_BATCH = 64
FILTERS = 32
SKIPPED_STEPS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch, hand_started() as processes:
        folder = Path(scratch)
        values = image_line(folder)
        runs = iter(range(1_000))

        def together() -> float:
            run = f"together-{next(runs)}"
            spec = spec_of(
                values,
                builder="models:conv",
                params={"filters": FILTERS},
                run=run,
                workers=2,
                global_batch=2 * LOCAL_BATCH,
                epochs=2,
                callbacks=stamped(folder / run),
            )
            processes.together(spec)
            return 2 * LOCAL_BATCH / typical_step_s(folder / run, skip=SKIPPED_STEPS)

        def apart() -> float:
            number = next(runs)
            names = [f"apart-{number}-{job}" for job in range(2)]
            processes.apart(
                [
                    spec_of(
                        values,
                        builder="models:conv",
                        params={"filters": FILTERS},
                        run=name,
                        global_batch=LOCAL_BATCH,
                        epochs=2,
                        callbacks=stamped(folder / name),
                    )
                    for name in names
                ]
            )
            return sum(
                LOCAL_BATCH / typical_step_s(folder / name, skip=SKIPPED_STEPS) for name in names
            )

        found = interleaved(rounds, {"together": together, "apart": apart})
    show("2 workers, one model", found["together"], "rows/s")
    show("2 independent jobs (limit)", found["apart"], "rows/s")
    show_ratio("scaling efficiency", found["together"], found["apart"])


if __name__ == "__main__":
    main()

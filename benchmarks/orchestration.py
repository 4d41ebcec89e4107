"""What Ray costs a step: the same two workers under Ray and started by hand.

    python benchmarks/orchestration.py [--rounds 4]

Steps per second of a small convolutional net, from the median step; the limit is the processes
started by hand, with nothing but the ring between them.
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

import shardline
from shardline.cluster.session import session

GLOBAL_BATCH = 64
SKIPPED_STEPS = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch, hand_started() as processes, session():
        folder = Path(scratch)
        values = image_line(folder)
        runs = iter(range(1_000))

        def spec_and_stamps(kind: str) -> tuple[shardline.Spec, Path]:
            run = f"{kind}-{next(runs)}"
            spec = spec_of(
                values,
                builder="models:conv",
                run=run,
                workers=2,
                global_batch=GLOBAL_BATCH,
                epochs=3,
                callbacks=stamped(folder / run),
            )
            return spec, folder / run

        def under_ray() -> float:
            spec, stamps = spec_and_stamps("ray")
            shardline.train(spec)
            return 1 / typical_step_s(stamps, skip=SKIPPED_STEPS)

        def by_hand() -> float:
            spec, stamps = spec_and_stamps("hand")
            processes.together(spec)
            return 1 / typical_step_s(stamps, skip=SKIPPED_STEPS)

        found = interleaved(rounds, {"Ray": under_ray, "by hand": by_hand})
    show("2 workers under Ray", found["Ray"], "steps/s")
    show("the same by hand (limit)", found["by hand"], "steps/s")
    show_ratio("Ray / by hand", found["Ray"], found["by hand"])


if __name__ == "__main__":
    main()

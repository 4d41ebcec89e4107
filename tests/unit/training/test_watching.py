"""What a person sees of a running training."""

import threading

import orjson
import pytest
from tests.lines import classifier_line

from shardline.store import Store
from shardline.training.journal.progress import progress_key
from shardline.training.journal.watching import Watch, watching

REPORT = {
    "step": 20,
    "epoch": 1,
    "epochs_done": 1,
    "rows_per_s": 12345.6,
    "data_wait": 0.034,
    "logs": {"loss": 0.25, "val_loss": None},
}


class Screen:
    def __init__(self):
        self.bars, self.lines = [], []

    def update(self, *, done, total, note=""):
        self.bars.append((done, total, note))

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def shown(tmp_path):
    spec = classifier_line(tmp_path, num_rows=3).located()
    screen, store = Screen(), Store(spec.store)
    watch = Watch(store, spec, steps_per_epoch=13, progress=screen)

    def show(report):
        store.write(progress_key("toy"), orjson.dumps(report))
        watch()

    return screen, watch, show


def test_bar_counts_rows_and_notes_the_rest_once(shown):
    screen, _, show = shown
    show(REPORT)
    assert screen.bars == [
        (320, 624, "epoch 2/3  loss 0.25 val_loss nan  3% waiting for data"),
    ]
    assert screen.lines == []  # finished before anybody watched


def test_finished_epoch_leaves_a_line_with_its_speed(shown):
    screen, _, show = shown
    show(REPORT)
    show(REPORT | {"step": 26, "epochs_done": 2})
    show(REPORT | {"step": 27, "epochs_done": 2, "epoch": 2})
    assert screen.lines == ["epoch 2/3  loss 0.25 val_loss nan  12,346 rows/s  3% waiting for data"]


def test_what_cannot_be_read_is_not_shown(shown, tmp_path):
    screen, watch, show = shown
    watch()
    show(REPORT)
    Store(f"file://{tmp_path}/store").write(progress_key("toy"), b"{")
    watch()
    assert len(screen.bars) == 1


@pytest.mark.parametrize("ending", ["FINISHED", "FAILED"])
def test_watching_looks_once_more_when_training_has_ended(ending):
    seen, looked = [], threading.Event()

    def look(ended):
        seen.append(ended)
        looked.set()

    def train():
        with watching(look):
            assert looked.wait(10)
            if ending == "FAILED":
                raise RuntimeError

    if ending == "FAILED":
        with pytest.raises(RuntimeError):
            train()
    else:
        train()
    assert set(seen[:-1]) == {None}
    assert seen[-1] == ending

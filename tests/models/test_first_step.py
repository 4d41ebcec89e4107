"""A model whose first step cannot be taken."""

import pytest
from tests.lines import classifier_line, prepared

from shardline.data.manifest import load_dataset
from shardline.errors import ModelError
from shardline.model.code import collect_code
from shardline.store import Store
from shardline.training.task import WorkerTask
from shardline.training.worker import train_worker

OWN_STEP = """
    def step(data):
        x, y = data
        return {"loss": model.compute_loss(y=y, y_pred=model(x)["logits"])}

    model.train_step = step
    return model
"""


@pytest.fixture
def refusal(tmp_path):
    spec = classifier_line(tmp_path)
    file = tmp_path / "model.py"
    file.write_text(file.read_text().replace("    return model\n", OWN_STEP))
    prepared(spec)
    dataset = load_dataset(Store(spec.store), spec.name)
    return train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))}).refusal


def test_mistake_in_a_train_step_of_the_users_is_refused_in_a_sentence(refusal):
    assert type(refusal) is ModelError
    assert "the first training step raised " in refusal.message
    assert refusal.message.endswith("loss and callbacks with a batch of the dataset.")

"""`train.wire`: where 16 bits between workers can be had."""

import pytest
from pydantic import ValidationError

from shardline.spec.train import TrainSpec


@pytest.mark.parametrize("options", [{}, {"exchange": "ring", "gpus_per_worker": 1}])
def test_wire_16_bit_over_the_ring_is_accepted(options):
    assert TrainSpec(wire="bfloat16", **options).wire == "bfloat16"


@pytest.mark.parametrize("options", [{"exchange": "collective"}, {"gpus_per_worker": 1}])
def test_wire_16_bit_over_collectives_is_refused(options):
    with pytest.raises(ValidationError, match=r"wire: bfloat16 needs exchange: ring, as"):
        TrainSpec(wire="bfloat16", **options)

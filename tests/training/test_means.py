"""Means over an epoch, with weights, and from a checkpoint on."""

import json

import pytest
import torch

from loco.training.means import RunningMeans


def test_the_means_of_a_part_and_of_the_rest_are_those_of_the_whole() -> None:
    steps = [(torch.tensor(value), weight) for value, weight in ((0.5, 4), (1.5, 4), (4.0, 2))]
    whole, first = RunningMeans(), RunningMeans()
    for value, weight in steps:
        whole.add({"a": value, "rate": 0.1}, weight)
    whole.add({"b": torch.tensor(3.0)}, 1)  # a value that not every step has
    first.add({"a": steps[0][0], "rate": 0.1}, steps[0][1])
    rest = RunningMeans()
    rest.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for value, weight in steps[1:]:
        rest.add({"a": value, "rate": 0.1}, weight)
    rest.add({"b": torch.tensor(3.0)}, 1)
    expected = {"a": (0.5 * 4 + 1.5 * 4 + 4.0 * 2) / 10, "rate": 0.1, "b": 3.0}
    for means in (whole, rest):
        assert {k: float(v) for k, v in means.means().items()} == pytest.approx(expected)
    whole.clear()
    assert whole.means() == {}

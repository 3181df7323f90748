"""Weights are identified by their values, not by their place or the precision of the computation."""

import torch
from tiny_networks import LOCAL

from adacode_cli.engine.restorer import network_digest
from adacode_cli.model.network import AdaCode


def test_equal_values_are_equal_weights():
    torch.manual_seed(0)
    one, other = AdaCode(LOCAL), AdaCode(LOCAL)
    assert network_digest(one) != network_digest(other)
    other.load_state_dict(one.state_dict())
    assert network_digest(one) == network_digest(other.to(memory_format=torch.channels_last))


def test_any_value_counts():
    network = AdaCode(LOCAL)
    for key, value in network.state_dict().items():
        before = network_digest(network)
        with torch.no_grad():
            value.view(-1)[-1] += 1
        assert network_digest(network) != before, key

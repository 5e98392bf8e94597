import numpy as np
import pytest
import torch

from burnish.models.mlp import ActingCopy, ActorCritic


def network(**changes):
    sizes = {"num_observations": 4, "num_actions": 3, "hidden": (8, 8), "seed": 1}
    return ActorCritic(**(sizes | changes))


def test_weights_are_orthogonal_with_the_published_gains_and_biases_zero():
    model = network()
    for stack, out_gain in ((model.actor, 0.01), (model.critic, 1.0)):
        layers = [layer for layer in stack if isinstance(layer, torch.nn.Linear)]
        for layer, gain in zip(layers, (2**0.5, 2**0.5, out_gain), strict=True):
            weight = (
                layer.weight if layer.weight.shape[0] <= layer.weight.shape[1] else layer.weight.T
            )
            gram = weight @ weight.T
            torch.testing.assert_close(gram, gain**2 * torch.eye(len(gram)), atol=1e-5, rtol=0)
            assert not layer.bias.any()


def test_initial_weights_follow_the_seed_and_leave_the_global_stream_alone():
    before = torch.get_rng_state()
    first, again, other = network(), network(), network(seed=2)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert not torch.equal(first.actor[0].weight, other.actor[0].weight)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("scaling", [{}, {"center": (1.0, 2, 3, 4), "scale": (5.0, 6, 7, 8)}])
def test_the_acting_copy_agrees_with_the_network_and_keeps_its_weights(scaling):
    model = network(**scaling)
    copy = ActingCopy({k: v.detach() for k, v in model.state_dict().items()})
    observations = np.random.default_rng(0).normal(0, 5, (7, 4)).astype(np.float32)
    with torch.no_grad():
        logits, values = model(torch.from_numpy(observations)[:, None])
        np.testing.assert_allclose(copy.logits(observations), logits[:, 0].numpy(), atol=1e-6)
        chances = logits[:, 0].softmax(-1).numpy()
        np.testing.assert_allclose(copy.probabilities(observations), chances, atol=1e-6)
        assert torch.equal(model.values(torch.from_numpy(observations)[:, None]), values)
        model.actor[0].weight.zero_()
    np.testing.assert_allclose(copy.logits(observations), logits[:, 0].numpy(), atol=1e-6)

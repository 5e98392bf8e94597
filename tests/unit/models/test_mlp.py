import numpy as np
import pytest
import torch
from torch import nn

from burnish.models.mlp import ActingCopy, ActorCritic

SCALING = {"center": (1.0, 2, 3, 4), "scale": (5.0, 6, 7, 8)}
scalings = pytest.mark.parametrize("scaling", [{}, SCALING], ids=["raw", "scaled"])


def network(**changes):
    sizes = {"num_observations": 4, "num_actions": 3, "hidden": (8, 8), "seed": 1}
    return ActorCritic(**(sizes | changes))


def modules(model, name):
    """The same network of torch's own modules."""
    own = {k.removeprefix(f"{name}."): v for k, v in model.state().items() if k.startswith(name)}
    places = sorted({int(k.partition(".")[0]) for k in own})
    layers = []
    for place in places:
        out, width = own[f"{place}.weight"].shape
        layers += [nn.Linear(width, out), nn.Tanh()]
    found = nn.Sequential(*layers[:-1])
    found.load_state_dict(own)
    return found


def read(observations, scaling):
    if not scaling:
        return observations
    return (observations - torch.tensor(scaling["center"])) / torch.tensor(scaling["scale"])


def decisions(rows=6, steps=5):
    generator = torch.Generator().manual_seed(3)
    observations = torch.randn(rows, steps, 4, generator=generator) * 3
    return observations, torch.randint(3, (rows, steps), generator=generator)


def test_weights_are_orthogonal_with_the_published_gains_and_biases_zero():
    model = network()
    for name, out_gain in (("actor", 0.01), ("critic", 1.0)):
        layers = [layer for layer in modules(model, name) if isinstance(layer, nn.Linear)]
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
    assert torch.equal(first.weights, again.weights)
    assert not torch.equal(first.state()["actor.0.weight"], other.state()["actor.0.weight"])
    assert torch.equal(torch.get_rng_state(), before)


@scalings
@pytest.mark.parametrize("hidden", [(), (8,), (7, 5)])
def test_scores_and_their_gradient_are_those_of_torchs_modules_and_autograd(hidden, scaling):
    model = network(hidden=hidden, **scaling)
    with torch.no_grad():  # no longer as initialised: biases and all
        noise = torch.randn(model.weights.shape, generator=torch.Generator().manual_seed(5))
        model.weights += 0.3 * noise
    actor, critic = modules(model, "actor"), modules(model, "critic")
    observations, actions = decisions()
    seen = read(observations, scaling)
    expected = torch.distributions.Categorical(logits=actor(seen))
    said = (expected.log_prob(actions), expected.entropy(), critic(seen)[..., 0])
    scores = model.scores(observations, actions)
    found = (scores.logprobs, scores.entropy, scores.values)
    torch.testing.assert_close(found, said, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(model.values(observations), said[2], atol=2e-6, rtol=1e-5)
    # each score weighed at random, so that none stands in for another
    weights = torch.randn(3, *actions.shape, generator=torch.Generator().manual_seed(6))
    sum((w * s).sum() for w, s in zip(weights, said, strict=True)).backward()
    model.backward(scores, logprobs=weights[0], entropy=weights[1], values=weights[2])
    gradient = network(hidden=hidden)
    with torch.no_grad():
        gradient.weights.copy_(model.weights.grad)
    for name, own in (("actor", actor), ("critic", critic)):
        for k, parameter in own.named_parameters():
            torch.testing.assert_close(
                gradient.state()[f"{name}.{k}"], parameter.grad, atol=1e-4, rtol=1e-4
            )


def test_a_score_that_the_loss_does_not_read_has_no_gradient():
    model = network()
    scores = model.scores(*decisions())
    ones = torch.ones_like(scores.values)
    model.backward(scores, logprobs=None, entropy=None, values=ones)
    gradient = network()
    with torch.no_grad():
        gradient.weights.copy_(model.weights.grad)
    named = gradient.state().items()
    assert not any(v.any() for k, v in named if k.startswith("actor"))
    assert all(v.any() for k, v in named if k.startswith("critic"))


@scalings
def test_the_acting_copy_agrees_with_the_network_and_keeps_its_weights(scaling):
    model = network(**scaling)
    copy = ActingCopy(model.state())
    observations = np.random.default_rng(0).normal(0, 5, (7, 4)).astype(np.float32)
    with torch.no_grad():
        logits = modules(model, "actor")(read(torch.from_numpy(observations), scaling)).numpy()
    np.testing.assert_allclose(copy.logits(observations), logits, atol=1e-6)
    chances = torch.from_numpy(logits).softmax(-1).numpy()
    np.testing.assert_allclose(copy.probabilities(observations), chances, atol=1e-6)
    model.state()["actor.0.weight"].zero_()
    np.testing.assert_allclose(copy.logits(observations), logits, atol=1e-6)

"""AdamW with float32 masters against torch's own; schedules, clipping, exact state."""

import copy
import gc
import math
import weakref

import pytest
import torch
from torch import Tensor, nn

from burnish.algos.batch import Loss
from burnish.engine import split_master
from burnish.engine.optim import MasterAdamW, Optim
from burnish.engine.pages import Pages, room
from burnish.engine.split_master import SplitMaster, round_into
from burnish.engine.trainer import Trainer
from burnish.errors import ConfigError, TrainingError


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def loss_of(model: nn.Module, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    dtype = next(model.parameters()).dtype
    x = torch.randn(8, 6, generator=generator)
    y = torch.randn(8, 3, generator=generator)
    out: Tensor = ((model(x.to(dtype)).float() - y) ** 2).mean()
    return out


def take(model: nn.Module, optim: MasterAdamW, steps: range, lr: float = 0.01) -> list[float]:
    norms = []
    for step in steps:
        loss_of(model, step).backward()
        norms.append(optim.step(lr))
    return norms


CONFIG = Optim(lr=0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1, max_grad_norm=0.5)


def test_float32_training_is_torchs_adamw() -> None:
    ours, theirs = network(), network()
    optim = MasterAdamW(list(ours.named_parameters()), CONFIG)
    reference = torch.optim.AdamW(
        theirs.parameters(), lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1
    )
    norms = take(ours, optim, range(20))
    for step in range(20):
        loss_of(theirs, step).backward()
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        assert norms[step] == pytest.approx(float(norm), rel=1e-5)
        reference.step()
        reference.zero_grad()
    assert max(norms) > 0.5 > min(norms)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_updates_too_small_for_bfloat16_add_up() -> None:
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optim = MasterAdamW([("w", weight)], Optim(lr=1e-4))
    for _ in range(60):  # 60 steps of 1e-4: bfloat16 near 1 moves by 0.0039 or not at all
        weight.grad = None
        (-weight.float().sum()).backward()
        optim.step(1e-4)
    torch.testing.assert_close(optim.tensors()["master.w"], torch.full((4,), 1.006))
    assert weight.tolist() == [1.0078125] * 4


def test_micro_batches_are_summed_in_float32() -> None:
    weight = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optim = MasterAdamW([("w", weight)], Optim(lr=1.0, max_grad_norm=1e9))
    (weight.float() * 256).sum().backward()
    for _ in range(8):  # each is lost when added to 256 in bfloat16
        (weight.float() * 0.5).sum().backward()
    assert weight.grad is None
    assert optim.step(0.1) == pytest.approx(260.0)


def test_a_state_that_went_through_tensors_goes_on_bit_for_bit() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        whole, first = network(dtype), network(dtype)
        take(whole, MasterAdamW(list(whole.named_parameters()), CONFIG), range(9))
        before = MasterAdamW(list(first.named_parameters()), CONFIG)
        take(first, before, range(4))
        saved = copy.deepcopy(before.tensors())
        second = network(dtype)
        after = MasterAdamW(list(second.named_parameters()), CONFIG)
        after.load(saved)
        assert after.num_steps == 4
        take(second, after, range(4, 9))
        take(first, before, range(4, 9))
        for a, b, c in zip(
            whole.parameters(), first.parameters(), second.parameters(), strict=True
        ):
            assert torch.equal(a, b) and torch.equal(a, c)


def test_what_tensors_gave_is_not_changed_by_loading_it() -> None:
    model = network()
    optim = MasterAdamW(list(model.named_parameters()), CONFIG)
    take(model, optim, range(2))
    saved = copy.deepcopy(optim.tensors())
    kept = copy.deepcopy(saved)
    other = network()
    again = MasterAdamW(list(other.named_parameters()), CONFIG)
    again.load(saved)
    take(other, again, range(2, 4))
    assert all(torch.equal(saved[name], kept[name]) for name in saved)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_not_finite_leaves_the_weights(bad: float, dtype: torch.dtype) -> None:
    model = network(dtype)
    optim = MasterAdamW(list(model.named_parameters()), CONFIG)
    take(model, optim, range(2))
    before = copy.deepcopy(optim.tensors())
    weights = copy.deepcopy(model.state_dict())
    (loss_of(model, 3) * bad).backward()
    with pytest.raises(TrainingError, match="gradient is not finite at optimiser step 2"):
        optim.step(0.01)
    after = optim.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(weights[name], v) for name, v in model.state_dict().items())


def test_a_loss_that_is_not_finite_stops_before_the_step() -> None:
    model = network()
    trainer = Trainer(model, CONFIG, num_steps=3)
    weights = copy.deepcopy(model.state_dict())
    parts = [Loss(loss_of(model, 0)), Loss(loss_of(model, 1) * float("nan"))]
    with pytest.raises(TrainingError, match="loss is nan at optimiser step 0"):
        trainer.step(parts)
    assert all(torch.equal(weights[name], v) for name, v in model.state_dict().items())


def test_slices_sum_to_the_whole_step() -> None:
    one, many = network(), network()
    a, b = Trainer(one, CONFIG, num_steps=2), Trainer(many, CONFIG, num_steps=2)
    whole = a.step([Loss(loss_of(one, 0) + loss_of(one, 1), {"n": torch.tensor(2.0)})])
    parts = b.step(Loss(loss_of(many, step), {"n": torch.tensor(1.0)}) for step in (0, 1))
    assert whole.loss == pytest.approx(parts.loss)
    assert whole.grad_norm == pytest.approx(parts.grad_norm)
    assert whole.sums == parts.sums == {"n": 2.0}


def test_a_step_without_any_gradient_counts_and_moves_nothing() -> None:
    model = network()
    trainer = Trainer(model, CONFIG, num_steps=2)
    weights = copy.deepcopy(model.state_dict())
    assert trainer.step([]).grad_norm == 0.0
    assert trainer.optim.num_steps == 1
    assert all(torch.equal(weights[name], v) for name, v in model.state_dict().items())


def test_schedules_by_hand() -> None:
    constant = Optim(lr=2.0)
    assert [constant.lr_at(s, 4) for s in range(4)] == [2.0] * 4
    linear = Optim(lr=2.0, schedule="linear", warmup_ratio=0.2, final_lr_ratio=0.1)
    # 10 steps: 2 of warm-up, then 2 -> 0.2 over 8 intervals of 0.225, of which 7 are taken.
    expected = [1.0, 2.0] + [2.0 - 0.225 * i for i in range(8)]
    assert [linear.lr_at(s, 10) for s in range(10)] == pytest.approx(expected)
    counted = Optim(lr=2.0, schedule="linear", warmup_steps=2, final_lr_ratio=0.1)
    assert [counted.lr_at(s, 10) for s in range(10)] == pytest.approx(expected)
    # Llama 2's 3 % but at least 5 steps: 5 of 100, 6 of 200
    least = Optim(lr=1.0, warmup_ratio=0.03, warmup_steps=5)
    assert [least.lr_at(4, 100), least.lr_at(4, 200)] == pytest.approx([1.0, 5 / 6])
    assert Optim(lr=1.0, warmup_steps=8).lr_at(3, 4) == 0.5  # a run shorter than its warm-up
    tenth = Optim(lr=2.0, warmup_steps=4, warmup_from=0.1)
    assert [tenth.lr_at(s, 9) for s in range(5)] == pytest.approx([0.65, 1.1, 1.55, 2.0, 2.0])
    # down to a tenth, as InstructGPT's and R1's: at half of the way (1 + .1) / 2
    floor = Optim(lr=2.0, schedule="cosine", final_lr_ratio=0.1)
    assert floor.lr_at(4, 8) == pytest.approx(1.1)
    cosine = Optim(lr=2.0, schedule="cosine")
    expected = [1 + math.cos(math.pi * s / 8) for s in range(8)]
    assert [cosine.lr_at(s, 8) for s in range(8)] == pytest.approx(expected, abs=1e-6)
    assert Optim(lr=1.0, schedule="linear", warmup_ratio=0.9).lr_at(0, 1) > 0


@pytest.mark.parametrize("knob", ["lr", "eps", "max_grad_norm"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_knobs_out_of_range_are_refused(knob: str, value: float) -> None:
    with pytest.raises(ConfigError, match=knob):
        Optim(**({"lr": 1.0} | {knob: value}))


@pytest.mark.parametrize(
    "knobs",
    [{"beta1": 1.0}, {"beta1": -0.1}, {"beta2": 1.0}, {"weight_decay": -0.1}, {"lr": math.inf}],
)
def test_what_torch_would_refuse_later_is_refused_at_once(knobs: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(knobs))):
        Optim(**({"lr": 1.0} | knobs))


def test_bfloat16_weights_follow_small_moves_on_average_and_rest_where_nothing_moved() -> None:
    live = torch.nn.Parameter((torch.randn(300, 700) * 0.05).bfloat16())
    start = live.detach().clone()
    optim = MasterAdamW([("w", live)], Optim(lr=2e-6, max_grad_norm=1e9))
    live.grad = None
    (live.float().sum() * 0).backward()  # type: ignore[no-untyped-call]
    optim.step(0.0)
    assert torch.equal(live, start)
    for _ in range(5):
        live.float().sum().backward()  # type: ignore[no-untyped-call]
        optim.step(2e-6)
    moved = (live.detach().float() - start.float()).mean().item()
    master = optim.tensors()["master.w"]
    wanted = (master - start.float()).mean().item()
    to_nearest = (master.bfloat16().float() - start.float()).mean().item()
    assert wanted < -5e-6 and moved == pytest.approx(wanted, rel=0.05)
    assert abs(to_nearest) < 0.5 * abs(wanted)


def test_masters_round_alike_with_and_without_compiled_loops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split_master, "PART", split_master.PERIOD)
    size = 2 * split_master.PERIOD + 5  # two periods, then some
    master = torch.randn(size, generator=torch.Generator().manual_seed(0))
    compiled = torch.nn.Parameter(torch.zeros(size, dtype=torch.bfloat16))
    SplitMaster(compiled, Pages(0)).load({"master": master})
    live = torch.zeros(size, dtype=torch.bfloat16)
    round_into(live, master)
    assert torch.equal(live, compiled) and not torch.equal(live, master.bfloat16())
    round_into(live, live.float())
    assert torch.equal(live, compiled)  # what is a bfloat16 number already stays
    narrow = torch.zeros(3, 2, dtype=torch.bfloat16).T
    round_into(narrow, master[:6].view(2, 3))
    assert torch.equal(narrow, master[:6].view(2, 3).bfloat16())


def test_pages_hand_out_zeros_that_do_not_overlap() -> None:
    likes = [torch.empty(3, 5, dtype=torch.bfloat16), torch.empty(7), torch.empty(0, 2)]
    pages = Pages(sum(room(like) for like in likes))
    found = [pages.take(like) for like in likes]
    assert [t.shape for t in found] == [like.shape for like in likes]
    for number, tensor in enumerate(found, 1):
        assert tensor.dtype == torch.float32 and not tensor.any()
        tensor.fill_(number)
    assert [set(t.flatten().tolist()) for t in found] == [{1.0}, {2.0}, set()]
    with pytest.raises(AssertionError, match="small"):
        pages.take(torch.empty(1))


def test_a_step_of_several_slices_sums_them_in_float32_and_forgets_them() -> None:
    start = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)).bfloat16()
    grads = torch.randn(4, 3, 40, generator=torch.Generator().manual_seed(2)).bfloat16()
    live = torch.nn.Parameter(start.clone())
    optim = MasterAdamW([("w", live)], Optim(lr=1e-3, max_grad_norm=1e9))
    other = torch.nn.Parameter(start.float())
    reference = torch.optim.AdamW([other], lr=1e-3, weight_decay=0.0, eps=1e-8)
    for turn in range(3):
        for grad in grads:
            (live * (grad * (turn + 1))).sum().backward()  # type: ignore[no-untyped-call]
        assert live.grad is None
        optim.step(1e-3)
        other.grad = sum((grad * (turn + 1)).float() for grad in grads)  # type: ignore[assignment]
        reference.step()
    torch.testing.assert_close(optim.tensors()["master.w"], other.detach(), rtol=0, atol=2e-6)


def test_a_head_has_its_own_learning_rate() -> None:
    body, head = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optim = MasterAdamW(
        [("w", body), ("head.weight", head)], Optim(lr=0.1, head_lr_ratio=100, max_grad_norm=9)
    )
    (body + head).sum().backward()  # type: ignore[no-untyped-call]
    optim.step(0.1)
    assert body.item() == pytest.approx(-0.1) and head.item() == pytest.approx(-10, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_trainer_that_is_no_longer_used_frees_its_state_and_its_model(
    dtype: torch.dtype,
) -> None:
    model, head = nn.Linear(4, 3, dtype=dtype), nn.Linear(3, 1)
    trainer = Trainer(model, Optim(lr=0.1), num_steps=1, head=head)
    total = head(model(torch.ones(2, 4, dtype=dtype)).float()).sum()
    trainer.step([Loss(total, {})])
    moments = [t for n, t in trainer.tensors().items() if "exp_avg" in n]
    assert moments
    watched = [weakref.ref(x) for x in (*moments, model, trainer)]
    del trainer, model, head, total, moments
    gc.collect()
    assert [x() for x in watched] == [None] * len(watched)

"""Schedules and optimizer against the original's values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from minigpt4.common.errors import ConfigError
from minigpt4.common.optims import (
    build_optimizer,
    build_schedule,
    load_optimizer_state,
    parameter_groups,
)
from minigpt4.common.registry import registry
from minigpt4.common.settings import RunSettings

FIXTURES = Path(__file__).parents[1] / "fixtures" / "training"
SCHEDULES: dict[str, Any] = json.loads((FIXTURES / "lr_schedules.json").read_text("utf-8"))
LONGER = "cosine_w30_longer_than_epoch"


def rates(name: str, case: dict[str, Any]) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = registry.get_lr_scheduler_class(f"linear_warmup_{name.split('_')[0]}_lr")(
        optimizer,
        max_epoch=case["epochs"],
        iters_per_epoch=case["iters_per_epoch"],
        **case["kwargs"],
    )
    found = []
    for epoch in range(case["epochs"]):
        for step in range(case["iters_per_epoch"]):
            schedule.step(cur_epoch=epoch, cur_step=step)
            found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != LONGER])
def test_schedule_gives_the_originals_rates(name: str) -> None:
    assert rates(name, SCHEDULES[name]) == pytest.approx(SCHEDULES[name]["lr"], rel=1e-12)


def test_warmup_longer_than_an_epoch_goes_on_rising() -> None:
    # The original starts again at the second epoch's first step, where its own values drop.
    case = SCHEDULES[LONGER]
    original, found = case["lr"], rates(LONGER, case)
    assert original[20] < original[19]
    assert found[:20] == pytest.approx(original[:20], rel=1e-12)
    assert found[30:] == pytest.approx(original[30:], rel=1e-12)
    rise = 9e-6 / 30
    assert found[20:30] == pytest.approx([1e-6 + rise * step for step in range(20, 30)])


def test_step_schedule_also_warms_up_over_several_epochs() -> None:
    case = {
        "kwargs": {"min_lr": 0.0, "init_lr": 1.0, "warmup_start_lr": 0.0, "warmup_steps": 8,
                   "decay_rate": 0.5},
        "epochs": 3,
        "iters_per_epoch": 5,
    }  # fmt: skip
    found = rates("step", case)
    assert found[:8] == pytest.approx([step / 8 for step in range(8)])
    assert found[8:] == pytest.approx([0.5, 0.5] + [0.25] * 5)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.llama_model = nn.ModuleDict(
            {"lora_A": nn.Linear(4, 2, bias=False), "frozen": nn.Linear(4, 4)}
        )
        self.norm = nn.LayerNorm(4)
        self.llama_proj = nn.Linear(3, 4)
        self.llama_model["frozen"].requires_grad_(False)


def test_matrices_decay_and_vectors_do_not() -> None:
    net = Net()
    decayed, plain = parameter_groups(net, weight_decay=0.05)
    assert decayed["params"] == [net.llama_model["lora_A"].weight, net.llama_proj.weight]
    assert decayed["weight_decay"] == 0.05
    assert plain["params"] == [net.norm.weight, net.norm.bias, net.llama_proj.bias]
    assert plain["weight_decay"] == 0.0


def test_lr_scale_multiplies_the_scheduled_rate_of_named_parameters() -> None:
    net = Net()
    run = RunSettings(init_lr=1.0, lr_scale={"llama_proj": 0.25}, warmup_lr=1.0)
    optimizer = build_optimizer(net, run)
    build_schedule(optimizer, run, iters_per_epoch=10).step(0, 0)
    by_parameter = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert by_parameter[id(net.llama_proj.weight)] == 0.25
    assert by_parameter[id(net.llama_proj.bias)] == 0.25
    assert by_parameter[id(net.llama_model["lora_A"].weight)] == 1.0


def test_lr_scale_of_a_name_that_is_not_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="lama_prj"):
        parameter_groups(Net(), weight_decay=0.0, lr_scale={"lama_prj": 0.5})


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="Nothing is left to train"):
        parameter_groups(Net().requires_grad_(False), weight_decay=0.0)


def test_beta2_and_decay_come_from_the_settings() -> None:
    optimizer = build_optimizer(Net(), RunSettings(beta2=0.97, weight_decay=0.2))
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.97)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]


def stepped(net: Net, run: RunSettings) -> torch.optim.Optimizer:
    optimizer = build_optimizer(net, run)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def test_restored_moments_give_the_same_next_step_under_new_settings() -> None:
    torch.manual_seed(0)
    run = RunSettings(init_lr=0.1)
    net, copy = Net(), Net()
    optimizer = stepped(net, run)
    copy.load_state_dict(net.state_dict())
    restored = build_optimizer(copy, RunSettings(init_lr=0.1, weight_decay=0.5))
    load_optimizer_state(restored, optimizer.state_dict())
    assert restored.param_groups[0]["weight_decay"] == 0.5
    restored.param_groups[0]["weight_decay"] = run.weight_decay
    for each, other in ((net, optimizer), (copy, restored)):
        for parameter in each.parameters():
            parameter.grad = torch.full_like(parameter, -0.3)
        other.step()
    for one, two in zip(net.parameters(), copy.parameters(), strict=True):
        assert torch.equal(one, two)


def test_moments_of_other_parameters_are_refused() -> None:
    saved = stepped(Net(), RunSettings()).state_dict()
    with pytest.raises(ConfigError, match="resume with the settings"):
        load_optimizer_state(build_optimizer(Net().llama_proj, RunSettings()), saved)

"""Names lead to classes, and a wrong name to the nearest right one."""

import pytest

from minigpt4.common.errors import ConfigError
from minigpt4.common.registry import Registry, registry, unknown_name


def test_registered_class_is_found_and_unchanged():
    own = Registry()

    @own.register_processor("thing")
    class Thing:
        pass

    assert own.get_processor_class("thing") is Thing


def test_kinds_do_not_mix():
    own = Registry()
    own.register_processor("thing")(type("A", (), {}))
    own.register_model("thing")(type("B", (), {}))
    assert own.get_processor_class("thing").__name__ == "A"
    assert own.get_model_class("thing").__name__ == "B"


def test_name_cannot_be_taken_twice_but_a_module_may_be_loaded_again():
    own = Registry()
    own.register_task("t")(type("First", (), {}))
    again = type("First", (), {})
    own.register_task("t")(again)
    assert own.get_task_class("t") is again
    with pytest.raises(KeyError, match="First"):
        own.register_task("t")(type("Second", (), {}))


def test_processors_are_found_without_importing_them_first():
    assert {"blip2_image_train", "blip2_image_eval", "blip_caption"} <= set(
        registry.names("processor")
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("model", "minigpt_v2"),
        ("builder", "vivqa"),
        ("builder", "mvtec_ad"),
        ("task", "image_text_pretrain"),
        ("runner", "runner_base"),
        ("lr_scheduler", "linear_warmup_cosine_lr"),
        ("lr_scheduler", "linear_warmup_step_lr"),
    ],
)
def test_contract_names_exist(kind, name):
    assert name in registry.names(kind)
    assert getattr(registry, f"get_{kind}_class")(name).__name__


def test_unknown_name_is_a_config_error_with_the_nearest():
    with pytest.raises(ConfigError, match="blip2_image_train"):
        registry.get_processor_class("blip2_image_trian")


def test_unknown_name_without_a_near_one_lists_all():
    assert unknown_name("lr_scheduler", "zzz", ["a", "b"]) == (
        "there is no lr scheduler named 'zzz'; known: a, b."
    )

"""Rows of features: what comes back, and how far off it is."""

import pytest
import torch

from minigpt4.common.errors import ConfigError, ResourceError
from minigpt4.datasets.feature_format import row_format

SHAPE = (5, 14)


def features(count: int = 3) -> torch.Tensor:
    """Tokens whose sizes differ a hundredfold, one of zeros alone."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(count, *SHAPE, generator=generator)
    values *= torch.logspace(-1, 1, SHAPE[0])[:, None]
    values[0, 2] = 0
    return values


def there_and_back(name: str, values: torch.Tensor) -> torch.Tensor:
    chosen = row_format(name)
    rows = chosen.pack(values)
    assert rows.dtype == torch.uint8
    assert rows.shape == (len(values), chosen.row_bytes(SHAPE))
    return torch.stack([chosen.unpack(row, SHAPE) for row in rows])


@pytest.mark.parametrize(("name", "dtype"), [("fp16", torch.float16), ("fp32", torch.float32)])
def test_plain_values_are_cast_and_no_more(name, dtype):
    values = features()
    found = there_and_back(name, values)
    assert found.dtype == dtype
    assert torch.equal(found, values.to(dtype))


def test_whole_numbers_are_off_by_half_a_step_of_their_token():
    values = features()
    found = there_and_back("int8", values)
    largest = values.abs().amax(-1, keepdim=True)
    # Half a step of 1/127 of the token's largest value, and float16's rounding of what comes back.
    assert ((found.float() - values).abs() <= largest * (0.5 / 127 + 2**-11)).all()
    assert (found[0, 2] == 0).all()
    worst = values.abs().argmax(-1, keepdim=True)
    torch.testing.assert_close(found.gather(-1, worst), values.gather(-1, worst).half())


def test_small_tokens_beside_large_ones_keep_their_digits():
    """A scale for a whole picture would lose them."""
    values = features()
    found = there_and_back("int8", values)[1, 0].float()
    assert torch.nn.functional.cosine_similarity(found, values[1, 0], dim=0) > 0.9999


def test_whole_numbers_take_half_the_room():
    vit_g = (1024, 1408)
    assert row_format("fp16").row_bytes(vit_g) == 1024 * 1408 * 2
    assert row_format("int8").row_bytes(vit_g) == 1024 * 1408 + 1024 * 4


@pytest.mark.parametrize("name", ["fp16", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(name, value):
    values = features()
    values[0, 0, 0] = value
    with pytest.raises(ResourceError, match="feature_cache"):
        row_format(name).pack(values)


def test_an_unknown_format():
    with pytest.raises(ConfigError, match=r"'int4', but must be one of fp16"):
        row_format("int4")

"""The arguments of `SearchSpace` that a build or a fit reads."""

from typing import Any

import numpy as np
import pytest
from keras_initx.tuning import (
    InitializerHyperModel,
    SearchSpace,
    search,
)

from keras_initx import InitxError
from tests.support.users_hypermodels import UsersHyperModel, chosen, wide

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


@pytest.mark.parametrize("sizes", [[0], [8, 8], [2.5], 8, [True]])
def test_batch_sizes_that_cannot_be_used(sizes: Any) -> None:
    with pytest.raises(InitxError, match=r"^`batch_sizes` must be a list of different integers >= 1"):
        InitializerHyperModel(wide, SearchSpace(batch_sizes=sizes))


def test_batch_sizes_reach_fit() -> None:
    class Sizes(UsersHyperModel):
        def fit(self, hp: Any, model: Any, batch_size: int) -> int:
            return batch_size

    hypermodel = InitializerHyperModel(Sizes(), SearchSpace(batch_sizes=[8, 16]))
    hp = chosen(batch_size=16)
    assert hypermodel.fit(hp, hypermodel.build(hp)) == 16


X, Y = np.zeros((20, 4), "float32"), np.arange(20) % 2


def test_a_space_that_is_not_a_search_space(small_model: Any) -> None:
    with pytest.raises(
        InitxError, match=r"^`space` must be a SearchSpace, .*Pass SearchSpace\(initializers="
    ):
        search(lambda: small_model(), X, Y, space=["auto"])

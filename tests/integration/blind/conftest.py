"""Federations in mode `blind` whose keys a whole module of tests shares; each test begins with new nodes."""

from collections.abc import Callable

import pytest

from core.learning.orders import AggregationMode
from tests.federation import SLUGS, Federation
from tests.integration.blind.cloud import FIVE, Cloud, fresh


@pytest.fixture(scope="module")
def four_hospitals(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """Four hospitals, of which three must survive."""
    return Federation(tmp_path_factory.mktemp("four"), mode=AggregationMode.BLIND, rounds=1, slugs=SLUGS)


@pytest.fixture(scope="module")
def five_hospitals(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """Five hospitals, of which four must survive."""
    return Federation(tmp_path_factory.mktemp("five"), mode=AggregationMode.BLIND, rounds=1, slugs=FIVE)


@pytest.fixture
def cloud(four_hospitals: Federation) -> Cloud:
    """A cloud over four hospitals, one round."""
    return fresh(four_hospitals)


@pytest.fixture
def federation_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Federation]:
    """Makes a federation of its own for a test that changes keys or order."""

    def make(*slugs: str, rounds: int = 1) -> Federation:
        folder = tmp_path_factory.mktemp("own")
        return Federation(folder, mode=AggregationMode.BLIND, rounds=rounds, slugs=slugs or SLUGS)

    return make

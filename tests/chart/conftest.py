"""Renders every scenario of the chart once, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import helm_python as helm
import pytest

from tests.chart.rendering import CHART, SCENARIOS, Rendered, render, scenario_values


@pytest.fixture(scope="session")
def chart() -> Iterator[helm.Chart]:
    with helm.Chart.load(CHART) as loaded:
        yield loaded


@pytest.fixture(scope="session", params=SCENARIOS)
def rendered(request: pytest.FixtureRequest, chart: helm.Chart) -> Rendered:
    return render(chart, scenario_values(request.param))

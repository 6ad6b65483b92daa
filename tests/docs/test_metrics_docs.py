"""The page about metrics, the dashboard and the rules name the metrics there are, and no other."""

import json
import re
from pathlib import Path

from shenyu_data.health.metric_names import METRICS
from shenyu_data.model.config_metrics import METRICS_DESCRIPTIONS

from .test_cli_docs import CONFIGURATION, codes, rows, sections

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
DASHBOARD = (ROOT / "examples/grafana-dashboard.json").read_text(encoding="utf-8")
RULES = (ROOT / "examples/prometheus-rules.yml").read_text(encoding="utf-8")


def test_every_metric_is_documented() -> None:
    table = rows(sections(PAGE, 2)["What there is"])
    listed = {codes(row[0])[0]: (row[1], tuple(codes(row[2])), row[3]) for row in table}
    assert listed == {name: tuple(definition) for name, definition in METRICS.items()}


def test_the_dashboard_and_the_rules_name_only_metrics_that_exist() -> None:
    for text in (DASHBOARD, RULES):
        named = set(re.findall(r"shenyu_data_[a-z0-9_]+", text))
        assert len(named) > 3
        assert named <= set(METRICS)


def test_the_dashboard_and_the_rules_name_only_labels_that_exist() -> None:
    labels = {label for definition in METRICS.values() for label in definition.labels}
    panels = json.loads(DASHBOARD)["panels"]
    legends = " ".join(target["legendFormat"] for panel in panels for target in panel["targets"])
    assert set(re.findall(r"{{(\w+)}}", legends)) <= labels
    assert set(re.findall(r"\$labels\.(\w+)", RULES)) <= labels


def test_the_key_of_the_configuration_is_documented() -> None:
    listed = {codes(row[0])[0]: row[2] for row in rows(sections(CONFIGURATION, 2)["Metrics"])}
    assert listed == METRICS_DESCRIPTIONS


def test_the_dashboard_is_one_that_grafana_can_show() -> None:
    """Grafana's own types for Python read it without losing a member; here is what they do not
    ask: that panels do not cover each other, and that what is referred to is there.
    """
    dashboard = json.loads(DASHBOARD)
    variables = {item["name"] for item in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", DASHBOARD)) <= variables
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries", "table")
        assert panel["datasource"]["uid"] == "${datasource}"
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names) > 0
        if panel["type"] == "table":  # else a row for each moment
            assert all(target["instant"] for target in panel["targets"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        taken |= cells

"""Checks the dashboards and alerts of the chart: that the JSON is whole, that every panel says what it shows, and that every
metric is one that the program has. Writes the expressions as a rule file, so that promtool can judge them.

    dashboards.py <chart> <rule file to write>
"""

import json
import pathlib
import re
import sys

chart, rules = map(pathlib.Path, sys.argv[1:])
root = chart.parent.parent
problems = []

# Names as the code writes them: whole, or without the prefix.
code = "\n".join(path.read_text() for path in (root / "src").rglob("*.rs"))
alerts = (chart / "files/alerts.yaml").read_text()
recorded = set(re.findall(r"record: (\S+)", alerts))
documented = (root / "docs/cluster.md").read_text() + (root / "docs/user-guide.md").read_text()


def check_metrics(where, text):
    for name in sorted(set(re.findall(r"\bcamera_operator_[a-z_]+", text))):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        short = base.removeprefix("camera_operator_")
        if not any(f'"{known}"' in code for known in (base, short)):
            problems.append(f"{where}: the program has no metric {name}")
        if short not in documented:
            problems.append(f"{where}: metric {name} is not documented")
    for name in sorted(set(re.findall(r"\bcamera_operator:[a-z0-9_:]+", text)) - recorded):
        problems.append(f"{where}: no rule records {name}")


check_metrics("alerts.yaml", alerts)
expressions = []
uids = set()
for path in sorted((chart / "files/dashboards").glob("*.json")):
    board = json.loads(path.read_text())
    uids.add(board["uid"])
    variables = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    identifiers = [panel["id"] for panel in board["panels"]]
    if len(set(identifiers)) != len(identifiers):
        problems.append(f"{path.name}: two panels have one id")
    taken = set()
    for panel in board["panels"]:
        where = f"{path.name}: {panel['title']}"
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        if taken & cells or place["x"] + place["w"] > 24:
            problems.append(f"{where}: lies on another panel")
        taken |= cells
        if panel["type"] == "row":
            continue
        if not panel.get("description"):
            problems.append(f"{where}: has no description")
        for target in panel["targets"]:
            expression = target["expr"]
            check_metrics(where, expression)
            unknown = set(re.findall(r"\$\{?(\w+)", expression)) - variables
            if unknown:
                problems.append(f"{where}: no variable {', '.join(sorted(unknown))}")
            expression = expression.replace("$__rate_interval", "5m")
            expressions.append(re.sub(r"\$\{?\w+\}?", "x", expression))

if not uids:
    problems.append("there are no dashboards")
rules.write_text(json.dumps({
    "groups": [{"name": "dashboards", "rules": [
        {"record": f"panel:expression:number{number}", "expr": expression} for number, expression in enumerate(expressions)
    ]}]
}))
for problem in problems:
    print(f"   {problem}")
sys.exit(bool(problems))

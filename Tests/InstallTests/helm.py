# SPDX-License-Identifier: Apache-2.0
"""What Helm itself makes of the chart, and Kubernetes of that: helm.py CHART, cases on standard input.

A case is {"set": "a=b,c=d"}; its answer has what Helm reads that as ("values"), and either what it
renders ("manifests") with what Kubernetes' schemas say against it ("invalid"), or why it does not
("refused").
"""
import json
import sys

import helm_python
import kubernetes_validate
import yaml


def invalid(manifests):
    """What is no object of Kubernetes' as it was when the chart says it may be installed, or as it is."""
    for name, text in manifests.items():
        for document in yaml.safe_load_all(text) if name.endswith(".yaml") else []:
            for version in ("1.25", kubernetes_validate.latest_version()):
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    yield f"{version} {name}: {error}"


chart = helm_python.Chart.load(sys.argv[1])
answers = []
for case in json.load(sys.stdin):
    expression = case["set"]
    values = helm_python.parse_set_string(expression) if expression else {}
    answer = {"values": values}
    try:
        chart.validate_schema(values)
        answer["manifests"] = chart.render(values, name="swerve", namespace="swerve-system")
        answer["invalid"] = list(invalid(answer["manifests"]))
    except helm_python.HelmError as error:
        answer["refused"] = str(error)
    answers.append(answer)
lint = helm_python.lint(sys.argv[1])
print(json.dumps({"answers": answers, "lint": lint["errors"]}))

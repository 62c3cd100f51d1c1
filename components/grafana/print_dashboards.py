"""Prints Ray's Grafana dashboards as one JSON object, from uid to dashboard. A program of its own: it imports ray."""

import json

from ray.dashboard.modules.metrics import grafana_dashboard_factory as factory

if __name__ == "__main__":
    # Each generator returns the dashboard's JSON and its uid. A new version of Ray may have more of them.
    generators = [getattr(factory, name) for name in sorted(dir(factory)) if name.startswith("generate_")]
    print(json.dumps({uid: json.loads(text) for text, uid in (generate() for generate in generators)}))

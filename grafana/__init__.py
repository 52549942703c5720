"""The Grafana dashboards, generated from the metrics' catalogue: `python -m grafana`."""

import warnings

with warnings.catch_warnings():
    # The SDK warns at import that schema v2 exists. Files are provisioned in v1, which every Grafana reads.
    warnings.simplefilter("ignore", DeprecationWarning)
    import grafana_foundation_sdk.builders.dashboard
    import grafana_foundation_sdk.builders.prometheus  # noqa: F401

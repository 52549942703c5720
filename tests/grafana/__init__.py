"""Tests of the dashboards and of how Grafana is provisioned."""

"""Executions: planning, running, healing, compliance, report."""

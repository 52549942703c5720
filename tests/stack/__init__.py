"""The whole pipeline end to end: backend, Collector, Prometheus, VictoriaMetrics, all real programs."""

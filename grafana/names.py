"""Names that the catalogue does not hold: what standards, Prometheus, the Collector and the rules provide."""

# Of the FastAPI and system instrumentations.
HTTP_DURATION = "http_server_request_duration_seconds"
PROCESS_MEMORY = "process_memory_usage_bytes"
PROCESS_CPU = "process_cpu_time_seconds_total"
PROCESS_DESCRIPTORS = "process_open_file_descriptor_count"
PROCESS_THREADS = "process_thread_count"
TARGET_INFO = "target_info"

# Of Prometheus about each scrape and about itself.
UP = "up"
SCRAPE_DURATION = "scrape_duration_seconds"
SCRAPE_SAMPLES = "scrape_samples_scraped"
SCRAPE_SERIES_ADDED = "scrape_series_added"
ALERTS = "ALERTS"
HEAD_SERIES = "prometheus_tsdb_head_series"
RULE_FAILURES = "prometheus_rule_evaluation_failures_total"
NOTIFICATIONS_SENT = "prometheus_notifications_sent_total"
NOTIFICATIONS_DROPPED = "prometheus_notifications_dropped_total"
NOTIFICATIONS_ERRORS = "prometheus_notifications_errors_total"
NOTIFICATIONS_QUEUE = "prometheus_notifications_queue_length"

# Of the Collector, in the form that its configuration asks for: counters without `_total`.
ACCEPTED = "otelcol_receiver_accepted_metric_points"
REFUSED = "otelcol_receiver_refused_metric_points"
SENT = "otelcol_exporter_sent_metric_points"
SEND_FAILED = "otelcol_exporter_send_failed_metric_points"
ENQUEUE_FAILED = "otelcol_exporter_enqueue_failed_metric_points"
QUEUE_SIZE = "otelcol_exporter_queue_size"
QUEUE_CAPACITY = "otelcol_exporter_queue_capacity"
COLLECTOR_MEMORY = "otelcol_process_memory_rss"
COLLECTOR_COUNTERS = (ACCEPTED, REFUSED, SENT, SEND_FAILED, ENQUEUE_FAILED)

# Of prometheus/rules.
SUCCESS_OBJECTIVE = "aoss:execution_success_objective:ratio"
LATENCY_OBJECTIVE = "aoss:execution_latency_objective:ratio"
BAD_RATIO = "job:aoss_executions_bad:ratio_rate"
SLOW_RATIO = "job:aoss_execution_latency_slow:ratio_rate"
BUDGET_WINDOW = "30d"
BURN_WINDOWS = ("5m", "1h", "6h", "3d")

// What the charts show. Each query is that of a panel of the Grafana dashboards, without the dashboard's variables.

import { perMinute, quantile, ratio, rate, sum, value } from "./promql.js";

const EXECUTIONS = "aoss_executions_total";
const COMPLETED = "aoss_executions_completed_total";
const ACTIVE = "aoss_active_executions";
const DURATION = "aoss_execution_duration_seconds";
const ERRORS = "aoss_execution_errors_total";
const HEALING = "aoss_self_healing_attempts_total";

// Cancelled executions are neither good nor bad.
const COUNTED = { status: ["Success", "Failed", "Interrupted"] };

const persona = ({ agent_type: name }) => name;

/** The charts in reading order; each query has a text, `at`, and a name for each series that it gives. */
export const CHARTS = [
  {
    title: "Executions",
    unit: "minute",
    queries: [{ ...perMinute(EXECUTIONS, {}, "agent_type"), named: persona }],
  },
  {
    title: "Success rate",
    unit: "share",
    queries: [
      {
        ...ratio(sum(rate(COMPLETED, { status: "Success" })), sum(rate(COMPLETED, COUNTED))),
        named: () => "succeeded",
      },
    ],
  },
  {
    title: "Active",
    unit: "count",
    queries: [{ ...sum(value(ACTIVE), "agent_type"), named: persona }],
  },
  {
    title: "Execution duration",
    unit: "seconds",
    queries: [
      { ...quantile(0.5, DURATION), named: () => "p50" },
      { ...quantile(0.95, DURATION), named: () => "p95" },
      { ...quantile(0.99, DURATION), named: () => "p99" },
    ],
  },
  {
    title: "Errors",
    unit: "minute",
    queries: [{ ...perMinute(ERRORS, {}, "error_type"), named: ({ error_type: name }) => name }],
  },
  {
    title: "Healing attempts",
    unit: "minute",
    queries: [
      { ...perMinute(HEALING, { success: "true" }), named: () => "helped" },
      { ...perMinute(HEALING, { success: "false" }), named: () => "did not help" },
    ],
  },
  {
    title: "Healing success",
    unit: "share",
    queries: [
      {
        ...ratio(sum(rate(HEALING, { success: "true" }), "agent_type"), sum(rate(HEALING), "agent_type")),
        named: persona,
      },
    ],
  },
];

const total = (name, matchers) => sum(value(name, matchers));

/** Totals of the run: what /metrics shows at this moment. */
export const TOTALS = [
  { title: "Executions", parts: [total(EXECUTIONS)] },
  { title: "Active", parts: [total(ACTIVE)] },
  {
    title: "Succeeded",
    parts: [total(COMPLETED, { status: "Success" }), total(COMPLETED, COUNTED)],
  },
  { title: "Errors", parts: [total(ERRORS)] },
  { title: "Healed", parts: [total(HEALING, { success: "true" }), total(HEALING)] },
];

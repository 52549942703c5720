"""A small backend written the way the first implementation was; only its one import has changed."""

import json
import time
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from telemetry.compat import (
    get_metrics,
    get_metrics_summary,
    record_api_request,
    record_db_operation,
    record_execution_complete,
    record_execution_error,
    record_execution_start,
    record_execution_step,
    record_self_healing,
)

app = FastAPI()


@app.get("/metrics")
async def metrics_endpoint() -> Any:
    """Prometheus metrics endpoint."""
    return get_metrics()


@app.get("/summary")
def summary() -> Any:
    """Totals for a status page."""
    return get_metrics_summary()


@app.post("/api/chat/execute")
def execute(request: dict[str, Any]) -> StreamingResponse:
    """Run the given steps; those that say "fail" fail, and one that says "crash" ends everything."""
    start_time = time.time()
    agent_type = request.get("agent_type", "general")
    server_tag = request.get("server_tag", "unknown")
    record_execution_start(agent_type=agent_type, server_tag=server_tag)
    record_db_operation("select", "servers")

    def events() -> Iterator[str]:
        final_status = "Success"
        try:
            for step in request["plan"]:
                if step == "crash":
                    raise RuntimeError(step)
                if step == "fail":
                    record_execution_step(agent_type=agent_type, status="Failed")
                    record_self_healing(agent_type=agent_type, success=True)
                else:
                    record_execution_step(agent_type=agent_type, status="Success")
                yield json.dumps({"step": step}) + "\n"
        except RuntimeError:
            final_status = "Failed"
            record_execution_error(error_type="system_error", agent_type=agent_type)
        finally:
            duration = time.time() - start_time
            record_execution_complete(
                agent_type=agent_type,
                server_tag=server_tag,
                status=final_status,
                duration_seconds=duration,
            )
            record_api_request("POST", "/api/chat/execute", 200)

    return StreamingResponse(events(), media_type="application/x-ndjson")

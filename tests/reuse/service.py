"""A service that is not AOSS, measured in three lines: docs/measuring.md shows it, and a test runs it."""

from fastapi import FastAPI
from opentelemetry.metrics import set_meter_provider

from telemetry.exposition import MetricsEndpoint
from telemetry.sdk import MeterProvider

app = FastAPI()

provider = MeterProvider()
set_meter_provider(provider)
app.mount("/metrics", MetricsEndpoint(provider))

orders = provider.get_meter("shop").create_counter("shop.orders", unit="{order}")


@app.post("/orders/{kind}")
async def order(kind: str) -> dict[str, str]:
    """Take an order."""
    orders.add(1, {"kind": kind})
    return {"ordered": kind}

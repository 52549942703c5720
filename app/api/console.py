"""What the console's charts are drawn from."""

import asyncio
import gzip
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.dependencies import BackendOf
from app.api.schemas import MAX_ID, SamplesAnswer
from app.console.ring import INTERVAL_SECONDS, Ring
from app.console.sampling import FAMILIES
from telemetry.exposition.negotiation import gzip_wanted

router = APIRouter(prefix="/api/console", tags=["console"])


@router.get("/samples", response_model=SamplesAnswer)
async def samples(
    request: Request, backend: BackendOf, after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0
) -> Response:
    """Return the samples of the last 15 minutes after the given `seq`, whichever worker took them."""
    compress = gzip_wanted(request.headers.get("accept-encoding", ""))
    body = await asyncio.to_thread(_answer, backend.sampling.ring, after, compress)
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if compress:
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json")


def _answer(ring: Ring, after: int, compress: bool) -> bytes:  # noqa: FBT001 - passed on by a thread
    run, lines = ring.read()
    head = {"run": run, "interval": INTERVAL_SECONDS, "families": FAMILIES}
    # The samples are JSON already.
    body = b'%s,"samples":[%s]}' % (
        json.dumps(head).encode()[:-1],
        b",".join(line.text for line in lines if line.seq > after),
    )
    return gzip.compress(body, 1) if compress else body

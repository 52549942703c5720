"""How errors are answered: always JSON with a `detail`, never a traceback, never what was sent."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from app.errors import (
    AossError,
    AtCapacityError,
    DuplicateTagError,
    NoRunbookError,
    PlannerError,
    ServerBusyError,
    ShuttingDownError,
    StoreUnavailableError,
    UnknownExecutionError,
    UnknownModelError,
    UnknownServerError,
)

RETRY_AFTER_SECONDS = 2

STATUS: dict[type[AossError], int] = {
    UnknownServerError: 404,
    UnknownExecutionError: 404,
    DuplicateTagError: 409,
    ServerBusyError: 409,
    NoRunbookError: 422,
    UnknownModelError: 422,
    AtCapacityError: 429,
    PlannerError: 502,
    ShuttingDownError: 503,
    StoreUnavailableError: 503,
}


def install(app: FastAPI) -> None:
    """Answer the backend's own errors and invalid requests."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(AossError, _known)
    app.add_exception_handler(Exception, _unexpected)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    # What was sent stays out of the answer: it may hold a key, or text that JSON cannot carry.
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [
        {
            "type": problem["type"],
            "loc": [_printable(part) for part in problem["loc"]],
            "msg": _printable(problem["msg"]),
        }
        for problem in problems
    ]
    return JSONResponse({"detail": detail}, 422)


async def _known(_: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    body: dict[str, object] = {"detail": _printable(str(error))}
    if isinstance(error, NoRunbookError):
        body["nearest"] = list(error.nearest)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in (429, 503) else None
    return JSONResponse(body, status, headers)


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the backend failed; its log says why"}, 500)


def _printable(part: object) -> object:
    return part.encode(errors="replace").decode() if isinstance(part, str) else part

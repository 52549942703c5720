"""One scrape's text without an event loop, for scripts and tests."""

from telemetry.exposition.families import Complaints
from telemetry.exposition.negotiation import preferred
from telemetry.exposition.render import Renderer
from telemetry.exposition.sharing import Source


def exposition(
    provider: Source,
    accept: str = "",
    names: frozenset[str] = frozenset(),
    *,
    scope_labels: bool = False,
    created_timestamps: bool = False,
    utf8_names: bool = False,
) -> tuple[bytes, str]:
    """Return the exposition and its content type, in the format that an Accept header asks for; blocks.

    `names` are those of the families wanted, all where empty.
    """
    wanted = preferred(accept, utf8_names=utf8_names)
    renderer = Renderer(
        wanted, Complaints(), scope_labels=scope_labels, created_timestamps=created_timestamps
    )
    provider.observe()
    merging = provider.merge()
    while True:
        try:
            next(merging)
        except StopIteration as end:
            return b"".join(renderer.render(end.value, names)), wanted.content_type

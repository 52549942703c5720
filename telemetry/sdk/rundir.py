"""The directory of a provider: the run's own, made when first needed, or one that the user names."""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    Resource,
    ServiceInstanceIdResourceDetector,
)

from telemetry.sdk.locks import ProcessIdentity
from telemetry.sdk.root import find_root, has_forks
from telemetry.sdk.run import (
    dead_runs,
    instance_id,
    open_directory,
    open_run,
    remove_run,
    run_directory,
)

_logger = logging.getLogger(__name__)

_providers: Counter[tuple[str, str]] = Counter()


class RunDirectory:
    """Where all workers of a run keep their files.

    Raises DirectoryRefusedError for a named one that is not to be trusted. Providers of one process are
    independent: the second one of a service has another directory, which is that of the second one of every
    other worker.
    """

    def __init__(self, named: Path | None, resource: Resource) -> None:
        self._resource = resource
        self._is_named = named is not None
        self._instance: str | None = None
        namespace = str(resource.attributes.get(SERVICE_NAMESPACE, ""))
        name = str(resource.attributes.get(SERVICE_NAME, ""))
        if named is not None:
            self.path = named.absolute()
            if self.path.exists():
                open_directory(self.path)
        else:
            number = _providers[namespace, name]
            _providers[namespace, name] += 1
            self.path = run_directory(namespace, f"{name} {number}" if number else name)

    def open(self, on_dead_run: Callable[[Path], None]) -> Path:
        """Make the directory, and remove those of dead runs of the service, each after it was shown."""
        if self._is_named:
            return open_directory(self.path)
        open_run(self.path)
        for dead in dead_runs(self.path.parent, self.path):
            try:
                on_dead_run(dead)
            except Exception:
                _logger.exception("metrics: what the dead run in %s left could not be told", dead)
            remove_run(dead)
        return self.path

    def remove_if_last(self) -> None:
        """Remove the run's directory if this process is its root, and the last one that uses it."""
        if self._is_named or find_root() != ProcessIdentity.current() or not self.path.exists():
            return
        # A child that has yet to measure goes on with it, as where a process makes itself a daemon.
        if not has_forks():
            remove_run(self.path)

    def resource(self) -> Resource:
        """Return the run's resource: one instance id for all, and nothing that is of one process."""
        attributes = {
            key: value for key, value in self._resource.attributes.items() if not key.startswith("process.")
        }
        if self._instance is None and self.path.exists():
            try:
                self._instance = instance_id(self.path, _configured_instance(self._resource))
            except OSError as problem:
                _logger.warning("metrics: this run has no instance id: %s", problem)
        if self._instance is not None:
            attributes[SERVICE_INSTANCE_ID] = self._instance
        return Resource(attributes, self._resource.schema_url)


def _configured_instance(resource: Resource) -> str | None:
    """Return the instance id that somebody chose, not one that the official SDK drew for this process."""
    given = resource.attributes.get(SERVICE_INSTANCE_ID)
    drawn = ServiceInstanceIdResourceDetector().detect().attributes.get(SERVICE_INSTANCE_ID)
    return None if given is None or given == drawn else str(given)

"""The stack under load: `python -m benchmarks load` measures what each tier takes and writes docs/sizing.md.

It takes some eight minutes, and the stack's programs (`make stack`).
"""

import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks import sizing, storage, template
from benchmarks.fleet import Fleet
from benchmarks.pushing import Collector, bytes_below, check_nothing_lost, check_store, project_collector
from benchmarks.results import load
from benchmarks.scraped import check_scraped, scraping_prometheus, settle, wait_until_all_are_scraped
from benchmarks.sizing import (
    BEYOND,
    COLLECTOR,
    CPU,
    PROMETHEUS,
    QUEUED,
    STORED,
    VICTORIA,
    Figure,
    Load,
    Sizing,
)
from benchmarks.targets import Targets
from benchmarks.template import Template
from benchmarks.usage import MIB, Meter, Usage, grown, watch
from tests.support.stack.prometheus import PrometheusServer
from tests.support.stack.running import Server
from tests.support.stack.victoria import VictoriaServer, running_victoria

BACKENDS, SERIES, INTERVAL = 200, 500, 15.0
WARM_UP, MEASURED, OUTAGE, AFTER = 4, 8, 4, 4  # rounds of INTERVAL
DRAIN_SECONDS = 180.0
GENERATOR = "the load's generator"


def main() -> None:
    """Measure both paths, check that nothing was lost, print the table and keep it."""
    run = Sizing(
        sizing.machine(),
        Load(BACKENDS, SERIES, INTERVAL, measured=MEASURED * INTERVAL, outage=OUTAGE * INTERVAL),
    )
    started = time.perf_counter()
    _say("taking the template from a backend")
    taken = template.capture(SERIES)
    figures = [*_pushed(taken), *_scraped(taken), *_stored(taken)]
    order = [COLLECTOR, VICTORIA, PROMETHEUS, GENERATOR]
    run = replace(
        run,
        figures=sorted(figures, key=lambda figure: order.index(figure.tier)),
        seconds=time.perf_counter() - started,
        machine=replace(run.machine, load_after=load()),
    )
    print(sizing.markdown(run))
    path = run.save()
    sizing.write(path)
    print(f"kept as {path.name}, and shown in {sizing.PATH.name}")


def _pushed(taken: Template) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory() as name,
        running_victoria(Path(name) / "victoria") as victoria,
        project_collector(Path(name), victoria.url) as collector,
        closing(Fleet(taken.push, collector.port, backends=BACKENDS, interval=INTERVAL)) as fleet,
    ):
        _say("pushing: warm-up")
        meters = {COLLECTOR: Meter(_pid(collector.server)), VICTORIA: Meter(_pid(victoria))}
        idle = {name: meter.memory for name, meter in meters.items()}
        meters[GENERATOR] = Meter(None)
        fleet.start(WARM_UP + MEASURED + OUTAGE + AFTER)
        time.sleep(WARM_UP * INTERVAL)
        _say("pushing: measuring")
        queued: list[float] = []
        sent, read = fleet.bytes_sent, _read_bytes(victoria)
        usage = watch(
            meters, rounds=MEASURED, interval=INTERVAL, every_second=lambda: queued.append(collector.queued())
        )
        seconds = MEASURED * INTERVAL
        figures = [
            *_taken(COLLECTOR, usage[COLLECTOR], idle[COLLECTOR]),
            _rate(COLLECTOR, "received from the backends", fleet.bytes_sent - sent, seconds),
            _rate(COLLECTOR, "sent to the store, gzip", _read_bytes(victoria) - read, seconds),
            Figure(COLLECTOR, "most that was queued", "KiB", [max(queued) / 1024]),
            *_taken(VICTORIA, usage[VICTORIA], idle[VICTORIA]),
            Figure(GENERATOR, "CPU, pushing", "cores", usage[GENERATOR].cores),
        ]
        figures += _outage(collector, victoria, meters[COLLECTOR])
        fleet.join()
        collector.wait_until_empty(DRAIN_SECONDS)
        _say("pushing: checking every series")
        check_nothing_lost(collector.own(), fleet)
        check_store(victoria, fleet)
    return figures


def _outage(collector: Collector, victoria: VictoriaServer, meter: Meter) -> list[Figure]:
    """Take the store away while the load goes on, give it back, and see what the Collector held."""
    _say("pushing: the store is down")
    victoria.stop()
    began = time.monotonic()
    before = collector.queued()
    usage = watch({COLLECTOR: meter}, rounds=OUTAGE, interval=INTERVAL)
    minutes = (time.monotonic() - began) / 60
    queued, on_disk = collector.queued() - before, collector.queue_on_disk()
    victoria.start()
    drained = collector.wait_until_empty(DRAIN_SECONDS)
    return [
        Figure(COLLECTOR, QUEUED, "MiB", [queued / MIB / minutes], scales=True),
        Figure(COLLECTOR, "the queue's file after that outage", "MiB", [on_disk / MIB]),
        Figure(COLLECTOR, "CPU without the store", "cores", usage[COLLECTOR].cores, scales=True),
        Figure(COLLECTOR, "most memory without the store", "MiB", [max(usage[COLLECTOR].memory)]),
        Figure(COLLECTOR, "until the queue was empty again", "s", [drained]),
    ]


def _scraped(taken: Template) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory() as name,
        Targets(taken.scrape, BACKENDS) as targets,
        scraping_prometheus(Path(name), targets, INTERVAL) as prometheus,
    ):
        _say("scraping: warm-up")
        meters = {PROMETHEUS: Meter(_pid(prometheus))}
        idle = meters[PROMETHEUS].memory
        meters[GENERATOR] = Meter(None)
        wait_until_all_are_scraped(targets, INTERVAL)
        time.sleep((WARM_UP - 1) * INTERVAL)
        _say("scraping: measuring")
        log = Path(name) / "prometheus" / "wal"
        sent, logged, appended = targets.bytes_sent, bytes_below(log), _appended(prometheus)
        usage = watch(meters, rounds=MEASURED, interval=INTERVAL)
        seconds = MEASURED * INTERVAL
        samples = _appended(prometheus) - appended
        figures = [
            *_taken(PROMETHEUS, usage[PROMETHEUS], idle),
            _rate(PROMETHEUS, "received from the backends, gzip", targets.bytes_sent - sent, seconds),
            Figure(PROMETHEUS, "write-ahead log, a sample", "bytes", [(bytes_below(log) - logged) / samples]),
            Figure(GENERATOR, "CPU, being scraped", "cores", usage[GENERATOR].cores),
        ]
        _say("scraping: checking every series")
        settle(targets, INTERVAL)
        check_scraped(prometheus, targets)
    return figures


def _stored(taken: Template) -> list[Figure]:
    _say(f"storing {storage.HOURS} hours of one backend")
    return [
        Figure(VICTORIA, STORED, "bytes", [storage.victoria_bytes_a_sample(taken, INTERVAL)]),
        Figure(PROMETHEUS, STORED, "bytes", [storage.prometheus_bytes_a_sample(taken, INTERVAL)]),
    ]


def _taken(tier: str, usage: Usage, idle: float) -> list[Figure]:
    return [
        Figure(tier, CPU, "cores", usage.cores, scales=True),
        Figure(tier, "memory", "MiB", usage.memory),
        Figure(tier, BEYOND, "MiB", grown(usage, idle), scales=True),
    ]


def _rate(tier: str, what: str, amount: float, seconds: float) -> Figure:
    return Figure(tier, what, "KiB/s", [amount / 1024 / seconds], scales=True)


def _read_bytes(victoria: VictoriaServer) -> float:
    return _counter(victoria.http.get("/metrics").text, "vm_tcplistener_read_bytes_total")


def _appended(prometheus: PrometheusServer) -> float:
    return _counter(prometheus.http.get("/metrics").text, "prometheus_tsdb_head_samples_appended_total")


def _counter(exposition: str, name: str) -> float:
    """Return the sum of a counter's series."""
    found = [
        float(line.rpartition(" ")[2]) for line in exposition.splitlines() if line.startswith(f"{name}{{")
    ]
    assert found, f"there is no {name}"
    return sum(found)


def _pid(server: Server) -> int:
    assert server.process is not None, "it does not run"
    return server.process.pid


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)

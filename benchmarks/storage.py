"""What a sample takes on the disk, found from some hours of one backend.

Minutes of many would not tell: stores keep a series' samples in blocks, whose overhead only long ones hide.
"""

import http.client
import json
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.fleet import SECOND, Backend
from benchmarks.pushing import bytes_below
from benchmarks.targets import Targets
from benchmarks.template import Template
from tests.support.stack.programs import program
from tests.support.stack.victoria import running_victoria

HOURS = 6
IMPORT_SECONDS = 120


def victoria_bytes_a_sample(template: Template, interval: float) -> float:
    """Push hours of one backend into a VictoriaMetrics, stop it, and return what it keeps for each sample."""
    pushes = int(HOURS * 3600 / interval)
    backend = Backend(template.push, 0)
    began = time.time_ns() - int(pushes * interval * SECOND)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with running_victoria(data) as victoria:
            connection = http.client.HTTPConnection("127.0.0.1", victoria.port, timeout=30)
            for number in range(pushes):
                body = backend.export(began + int(number * interval * SECOND))
                connection.request("POST", "/opentelemetry/v1/metrics", body)
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
            connection.close()
            victoria.flush()
            kept = victoria.value('sum(count_over_time({__name__!=""}[1d]))')
            assert kept == pushes * template.series, f"{kept} samples are kept of {pushes * template.series}"
        return bytes_below(data / "data") / kept


def prometheus_bytes_a_sample(template: Template, interval: float) -> float:
    """Make Prometheus' blocks of hours of one target and return what they take for each sample."""
    scrapes = int(HOURS * 3600 / interval)
    target = Targets.of(template.scrape, 1)[0]
    began = time.time() - scrapes * interval
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "samples.txt"
        with text.open("w", encoding="utf-8") as file:
            for number in range(scrapes):
                target.grow()
                file.write(target.text(f"{began + number * interval:.3f}"))
            file.write("# EOF\n")
        blocks = Path(folder) / "blocks"
        command = [
            str(program("promtool")),
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            str(text),
            str(blocks),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=IMPORT_SECONDS)
        metas = [json.loads(path.read_text(encoding="utf-8")) for path in blocks.glob("*/meta.json")]
        kept: int = sum(meta["stats"]["numSamples"] for meta in metas)
        assert kept == scrapes * template.series, f"{kept} samples are kept of {scrapes * template.series}"
        return bytes_below(blocks) / kept

"""The query API of Prometheus, which VictoriaMetrics answers too."""

from typing import Any, NamedTuple

from tests.support.stack.running import Server

Labels = dict[str, str]


class Sample(NamedTuple):
    """One series at one time; `time` is in seconds since the epoch."""

    labels: Labels
    value: float
    time: float


class Series(NamedTuple):
    """One series over time: pairs of time and value."""

    labels: Labels
    points: list[tuple[float, float]]


class QueryServer(Server):
    """A server that answers PromQL."""

    def query(self, promql: str, at: float | None = None) -> list[Sample]:
        """Return an instant query's vector; a scalar is one sample without labels."""
        data = self._data("/api/v1/query", query=promql, time=at)
        if data["resultType"] == "scalar":
            time, value = data["result"]
            return [Sample({}, float(value), float(time))]
        assert data["resultType"] == "vector", f"{promql} is a {data['resultType']}: use `samples`"
        return [
            Sample(each["metric"], float(each["value"][1]), float(each["value"][0]))
            for each in data["result"]
        ]

    def value(self, promql: str, at: float | None = None) -> float:
        """Return the value of a query that answers exactly one series."""
        (sample,) = self.query(promql, at)
        return sample.value

    def samples(self, selector: str, at: float | None = None) -> list[Series]:
        """Return the stored samples of a range selector such as `aoss_executions_total[5m]`."""
        return _series(self._data("/api/v1/query", query=selector, time=at))

    def query_range(self, promql: str, start: float, end: float, step: float) -> list[Series]:
        """Return a range query's series; times and step are in seconds."""
        return _series(self._data("/api/v1/query_range", query=promql, start=start, end=end, step=step))

    def series(self, *selectors: str) -> list[Labels]:
        """Return the labels of every series that one of the selectors matches."""
        answer = self.get("/api/v1/series", **{"match[]": list(selectors)})
        found: list[Labels] = answer["data"]
        return found

    def label_values(self, label: str, *selectors: str) -> list[str]:
        """Return a label's values, of the series that match or of all."""
        answer = self.get(f"/api/v1/label/{label}/values", **{"match[]": list(selectors) or None})
        values: list[str] = answer["data"]
        return values

    def _data(self, path: str, **parameters: Any) -> Any:
        # By POST: a dashboard's query can be longer than an address may be.
        form = {key: str(value) for key, value in parameters.items() if value is not None}
        answer = self.http.post(path, data=form)
        assert answer.is_success, f"{parameters}: {answer.status_code}: {answer.text}"
        return answer.json()["data"]


def _series(data: Any) -> list[Series]:
    assert data["resultType"] == "matrix", data["resultType"]
    return [
        Series(each["metric"], [(float(time), float(value)) for time, value in each["values"]])
        for each in data["result"]
    ]

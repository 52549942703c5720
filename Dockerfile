# The backend. docker-compose.yml runs it with its settings, limits and health check; docs/deployment.md.
ARG PYTHON=python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/aoss
COPY requirements.lock ./
# Wheels only: there is no compiler here, and nothing that a package brings along is run.
RUN /opt/aoss/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY LICENSE README.md pyproject.toml ./
COPY app app
COPY telemetry telemetry
RUN /opt/aoss/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/aoss/bin/pip uninstall --yes setuptools pip

FROM ${PYTHON}
LABEL org.opencontainers.image.title="AOSS backend" \
      org.opencontainers.image.description="Agents that run shell steps on servers, and are measured" \
      org.opencontainers.image.licenses="Apache-2.0"
# A new named volume takes the owner of the directory over which it is mounted first.
RUN groupadd --gid 10001 aoss \
    && useradd --uid 10001 --gid aoss --no-log-init --home-dir /var/lib/aoss --shell /usr/sbin/nologin aoss \
    && install --directory --owner=aoss --group=aoss --mode=0700 /var/lib/aoss
COPY --from=build /opt/aoss /opt/aoss
ENV PATH=/opt/aoss/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AOSS_DATA_DIR=/var/lib/aoss \
    AOSS_LOCAL_RUNNER=false
USER 10001:10001
WORKDIR /var/lib/aoss
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["aoss"]
CMD ["serve"]

"""Builds the Dockerfile without Docker: each stage is a layer over this machine's own system."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.compose.dockerfile import Instruction, copy_context, stages
from tests.compose.machine import PATH, Image, Machine, overlay

BUILD_SECONDS = 400

_CACHE = "/mnt"
_UV = "/usr/bin/uv"


def build(machine: Machine, folder: Path) -> tuple[Image, str]:
    """Return the image, and the layer that holds its files.

    The Dockerfile's `pip` is uv, which takes the same arguments and has what is installed in its cache: that
    saves half a minute. `make run` installs the same lock file with pip itself.
    """
    copy_context(folder / "context")
    image, layers = Image([]), dict[str, Path]()
    for number, stage in enumerate(stages()):
        name = stage[0].text.partition(" AS ")[2] or str(number)
        layers[name] = machine.layers / "image" / name / "upper"
        image, lines = _stage(stage, folder / "context", layers, layers[name].with_name("root"))
        _run(machine, lines)
    return image, str(layers[name])


def _stage(
    stage: list[Instruction], context: Path, layers: dict[str, Path], root: Path
) -> tuple[Image, list[str]]:
    environment, workdir, entrypoint, command = {"PATH": PATH}, "/", list[str](), list[str]()
    lines = [*overlay(root), f"touch {root}{_UV}", f"mount --bind {_uv()} {root}{_UV}"]
    lines += [
        f"mount --bind {_uv_cache()} {root}{_CACHE}",
        f"mount --bind /dev {root}/dev",
        f"chroot {root} ldconfig",
    ]
    for instruction in stage:
        if instruction.name == "RUN":
            variables = [f"{key}={value}" for key, value in environment.items()]
            script = shlex.quote(_with_uv(instruction.text))
            lines.append(
                f"chroot {root} env -i --chdir={workdir} UV_CACHE_DIR={_CACHE} UV_LINK_MODE=copy "
                f"{shlex.join([*_way_out(), *variables])} sh -c {script}"
            )
        elif instruction.name == "COPY":
            *options, _ = words = instruction.words()
            stage_name = options[0].removeprefix("--from=") if options[0].startswith("--") else ""
            origin = layers[stage_name] if stage_name else context
            *sources, target = words[1:] if stage_name else words
            place = Path(f"{root}{target if target.startswith('/') else f'{workdir}/{target}'}")
            lines.append(
                f"mkdir -p {place.parent if len(sources) == 1 and not target.endswith('/') else place}"
            )
            lines += [f"cp -a {origin}/{source.lstrip('/')} {place}" for source in sources]
        elif instruction.name == "WORKDIR":
            workdir = instruction.text
            lines.append(f"mkdir -p {root}{workdir}")
        elif instruction.name == "ENV":
            before = environment["PATH"]
            environment |= {k: v.replace("$PATH", before) for k, v in instruction.pairs().items()}
        elif instruction.name == "ENTRYPOINT":
            entrypoint = instruction.words()
        elif instruction.name == "CMD":
            command = instruction.words()
        else:
            assert instruction.name in {"FROM", "LABEL", "USER", "EXPOSE", "STOPSIGNAL"}, instruction
    return Image([*entrypoint, *command], environment=environment, workdir=workdir), lines


def _with_uv(script: str) -> str:
    pip, python = "/opt/aoss/bin/pip", "--python /opt/aoss/bin/python"
    script = script.replace(
        f"{pip} install --no-cache-dir", f"{_UV} pip install --quiet --compile-bytecode {python}"
    )
    script = script.replace(f"{pip} uninstall --yes", f"{_UV} pip uninstall --quiet {python}")
    assert pip not in script, script
    return script


def _way_out() -> list[str]:
    """Return the variables that say how packages are reached from here, as Docker passes on a proxy's."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return [
        f"{key}={value}"
        for key, value in os.environ.items()
        if key.upper() in names or key.startswith(("UV_", "PIP_"))
    ]


def _uv() -> Path:
    return Path(sys.executable).with_name("uv")


def _uv_cache() -> str:
    shown = subprocess.run([_uv(), "cache", "dir"], capture_output=True, text=True, check=True)
    Path(shown.stdout.strip()).mkdir(parents=True, exist_ok=True)
    return shown.stdout.strip()


def _run(machine: Machine, lines: list[str]) -> None:
    result = subprocess.run(
        machine.inside("unshare", "--mount", "sh", "-euxc", "\n".join(lines), network=False),
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert result.returncode == 0, result.stderr[-4000:]

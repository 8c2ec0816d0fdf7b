"""Writes the constraint files: the versions that `make setup` and CI install.

    python scripts/constraints.py python3.11 python3.12 python3.13

For each interpreter a fresh virtual environment resolves the package, its extras, the dev group and the
build tools, once with the newest Airflow and once with the oldest supported one. Where a version differs
by Python, the pin carries a marker. Only names and versions are written.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FILES = {
    "constraints.txt": ("the newest Airflow", ["apache-airflow"]),
    # Airflow 3.2 allows a later FastAPI and a later svcs, with which its Execution API does not start.
    "constraints-airflow-3.2.txt": (
        "the oldest supported Airflow",
        ["apache-airflow==3.2.*", "fastapi<0.137", "svcs<26"],
    ),
}

# What is needed before the package itself can be installed: hatchling asks for editables when it builds an
# editable install.
TOOLS = ["pip", "hatchling", "editables"]

# Where to find packages, which is a matter of the machine. All other pip settings (constraints, extra
# links, …) are left out, since they would change the result.
INDEX_SETTINGS = ["index-url", "cert", "client-cert", "proxy", "trusted-host", "timeout", "retries"]

Pins = dict[str, str]


def main(interpreters: list[str]) -> int:
    if not interpreters:
        sys.stderr.write("usage: python scripts/constraints.py <python3.11> <python3.12> …\n")
        return 2
    environment = clean_environment()
    with tempfile.TemporaryDirectory() as scratch:
        pythons = {}
        for interpreter in interpreters:
            version, python = make_environment(interpreter, Path(scratch), environment)
            pythons[version] = python
        for name, (what, airflow) in FILES.items():
            with ThreadPoolExecutor(max_workers=2) as pool:
                pending = {
                    version: pool.submit(resolve, python, airflow, environment)
                    for version, python in pythons.items()
                }
                resolved = {version: resolution.result() for version, resolution in pending.items()}
            (ROOT / name).write_text(render(what, resolved), encoding="utf-8")
            sys.stdout.write(f"{name}: {len(set().union(*resolved.values()))} packages\n")
    return 0


def clean_environment() -> dict[str, str]:
    """The environment for pip: the machine's package index, and none of its other pip settings."""
    kept: dict[str, str] = {}
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    for line in listing.splitlines():
        setting, _, value = line.partition("=")
        option = setting.rpartition(".")[2]
        if option in INDEX_SETTINGS:
            # `pip config list` prints variables first and files after them, so the first one counts.
            kept.setdefault(f"PIP_{option.upper().replace('-', '_')}", value.strip("'\""))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return environment | kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def make_environment(interpreter: str, scratch: Path, environment: dict[str, str]) -> tuple[str, Path]:
    version = subprocess.run(
        [interpreter, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    python = scratch / version / "bin" / "python"
    subprocess.run([interpreter, "-m", "venv", scratch / version], check=True, env=environment)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True, env=environment
    )
    return version, python


def resolve(python: Path, airflow: list[str], environment: dict[str, str]) -> Pins:
    """What pip would install into an empty environment, without our own package."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        install = [str(python), "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        what = ["--group", "dev", "--editable", ".[zstd,s3]", *TOOLS, *airflow]
        subprocess.run([*install, "--report", str(report), *what], check=True, cwd=ROOT, env=environment)
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {
        canonical(install["metadata"]["name"]): install["metadata"]["version"]
        for install in installs
        if not install["is_direct"]
    }


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def render(what: str, resolved: dict[str, Pins]) -> str:
    lines = [
        f"# Pinned versions for development, the demo and CI, with {what}.",
        f"# Resolved for Python {', '.join(resolved)}. Written by `make constraints`; not edited by hand.",
    ]
    for package in sorted(set().union(*resolved.values())):
        versions = {python: pins[package] for python, pins in resolved.items() if package in pins}
        if len(set(versions.values())) == 1:
            lines.append(f"{package}=={next(iter(versions.values()))}")
            continue
        pythons = list(versions)
        runs = [list(run) for _, run in groupby(pythons, key=lambda python: versions[python])]
        for run, following in zip(runs, [*runs[1:], None], strict=True):
            bounds = []
            if run is not runs[0]:
                bounds.append(f'python_version >= "{run[0]}"')
            if following:
                bounds.append(f'python_version < "{following[0]}"')
            lines.append(f"{package}=={versions[run[0]]} ; {' and '.join(bounds)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

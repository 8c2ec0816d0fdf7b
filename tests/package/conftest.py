"""The distribution, built once, and installed once into an empty environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Distribution:
    wheel: Path
    sdist: Path
    wheel_from_sdist: Path


@dataclass(frozen=True)
class InstalledProvider:
    """An environment with nothing but the wheel and what it requires, and an Airflow home of its own."""

    python: Path
    airflow: Path
    home: Path
    env: dict[str, str]

    def run(self, *command: str | Path, timeout: float = 120) -> str:
        """Runs a command away from the source tree and returns what it printed."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


def _run(*command: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    direct = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", direct, ROOT)
    # Without --wheel or --sdist, build makes the wheel out of the sdist.
    both = tmp_path_factory.mktemp("sdist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", both, ROOT)
    (wheel,) = direct.glob("*.whl")
    (sdist,) = both.glob("*.tar.gz")
    (wheel_from_sdist,) = both.glob("*.whl")
    return Distribution(wheel, sdist, wheel_from_sdist)


def _constraints() -> Path:
    """The pins of the environment that runs the tests: make names the file, else Airflow's version does."""
    if name := os.environ.get("MAKINI_TESTS_CONSTRAINTS"):
        return ROOT / name
    oldest = version("apache-airflow").startswith("3.2.")
    return ROOT / ("constraints-airflow-3.2.txt" if oldest else "constraints.txt")


@pytest.fixture(scope="session")
def installed_provider(
    distribution: Distribution, tmp_path_factory: pytest.TempPathFactory
) -> InstalledProvider:
    venv = tmp_path_factory.mktemp("empty") / "venv"
    python = venv / "bin" / "python"
    _run(sys.executable, "-m", "venv", venv)
    install = (python, "-m", "pip", "install", "--quiet", "--compile", "--constraint", _constraints())
    _run(*install, "pip")
    _run(*install, distribution.wheel)

    home = tmp_path_factory.mktemp("home")
    (home / "dags").mkdir()
    env = {
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.defpath}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "NO_PROXY": "127.0.0.1,localhost,::1",
    }
    return InstalledProvider(python, venv / "bin" / "airflow", home, env)

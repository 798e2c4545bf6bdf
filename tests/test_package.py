"""The package: every folder is shipped, the arrows hold, and extras bring only what they should."""

import ast
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CODE = ("mixer", "services", "trainer")


def test_every_folder_of_code_is_packaged() -> None:
    folders = {
        "recollect." + ".".join(path.parent.relative_to(ROOT).parts)
        for name in CODE
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders | {"recollect", "recollect.v1"}


def test_nothing_but_the_package_marker_lies_at_the_root() -> None:
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from what git tracks, as a release would be."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        capture_output=True,
        check=True,
    )
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@pytest.mark.slow
def test_the_wheel_holds_code_and_data_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    packaged = {f"recollect/{p.relative_to(ROOT)}" for n in CODE for p in (ROOT / n).rglob("*.py")}
    assert packaged <= names
    assert {
        "recollect/py.typed",
        "recollect/v1/mix.proto",
        "recollect/v1/mix_pb2.pyi",
        "recollect/services/demo/data/mixes/support.yaml",
        "recollect/services/demo/data/train/support.jsonl",
        "recollect/services/demo/data/evaluate/gsm8k.jsonl",
        "recollect/services/demo/templates/report.html",
        "recollect/services/privacy/data/first_names.txt",
        "recollect/services/teacher/model/model.safetensors",
        "recollect/services/teacher/model/MODEL_CARD.md",
    } <= names
    assert not [n for n in names if "test" in n.split("/")[1] or "bench" in n or "docs" in n]


@pytest.mark.slow
def test_the_unpacked_wheel_runs_without_the_checkout(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path)
    code = (
        "import recollect, recollect.services.cli as cli\n"
        "from recollect.services.demo.sample import DATA, FILES\n"
        "from recollect.services.config import SHIPPED_MODEL\n"
        "assert all((DATA / file.path).is_file() for file in FILES)\n"
        "assert (SHIPPED_MODEL / 'model.safetensors').is_file()\n"
        "print(recollect.__file__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(tmp_path))


def test_import_arrows_hold() -> None:
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


NOT_FOR_TRAINERS = {"presidio-analyzer", "faiss-cpu", "duckdb", "spacy"}


def _names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def _needed(lines: list[str], extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What these lines require on this machine: names, with the extras asked of them."""
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def _brought(wheel: zipfile.ZipFile, extra: str) -> set[str]:
    """The distributions that the wheel brings with an extra, directly or not."""
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(path))
    waiting = list(_needed(metadata.get_all("Requires-Dist", []), frozenset({extra})))
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        asked = waiting.pop()
        if asked in seen:
            continue
        seen.add(asked)
        name, extras = asked
        # What is not installed here was not needed here: a GPU build of torch, for example.
        with suppress(importlib.metadata.PackageNotFoundError):
            waiting += _needed(importlib.metadata.requires(name) or [], extras)
    return {name for name, _ in seen}


@pytest.mark.slow
def test_the_trainer_extra_brings_neither_presidio_nor_faiss_nor_duckdb(
    wheel: zipfile.ZipFile,
) -> None:
    for_trainers, for_servers = _brought(wheel, "trainer"), _brought(wheel, "server")
    assert for_trainers & NOT_FOR_TRAINERS == set()
    assert for_servers >= NOT_FOR_TRAINERS
    # Those that are needed by what is needed are counted as well.
    assert for_trainers >= {"torch", "transformers", "huggingface-hub", "sympy"}


@pytest.fixture(scope="module")
def trainer_environment(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with what `pip install recollect[trainer]` brings, no more.

    The packages are links to those that are installed here, so nothing is fetched or copied.
    """
    folder = tmp_path_factory.mktemp("trainer") / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in _brought(wheel, "trainer"):
        with suppress(importlib.metadata.PackageNotFoundError):
            _link(importlib.metadata.distribution(name), site)
    install = ("install", "--quiet", "--no-deps", "--no-index", str(wheel.filename))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", *install],
        check=True,
    )
    return folder / "bin"


def _link(distribution: importlib.metadata.Distribution, site: Path) -> None:
    tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    for top in tops:
        # Two distributions may share a folder, such as `google`.
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))


def _run_alone(*command: object) -> subprocess.CompletedProcess[str]:
    """Runs a command that sees nothing of this environment."""
    return subprocess.run(
        [str(word) for word in command],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "160", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_a_trainer_alone_can_import_everything_of_its_own(
    trainer_environment: Path, tmp_path: Path
) -> None:
    code = (
        "import importlib, importlib.util, pkgutil, sys\n"
        "import recollect, recollect.trainer, recollect.mixer\n"
        "for package in (recollect.trainer, recollect.mixer):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "for name in recollect.trainer.__all__:\n"
        "    getattr(recollect.trainer, name)\n"
        "unwanted = ('presidio_analyzer', 'faiss', 'duckdb', 'spacy')\n"
        "assert not any(map(importlib.util.find_spec, unwanted))\n"
        "assert 'torch' in sys.modules\n"
        "print(recollect.__file__)\n"
    )
    result = _run_alone(trainer_environment / "python", "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(trainer_environment.parent))


@pytest.mark.slow
def test_a_trainer_alone_has_the_command_line_and_is_told_what_it_lacks(
    trainer_environment: Path, tmp_path: Path
) -> None:
    recollect = trainer_environment / "recollect"
    overview = _run_alone(recollect, "--help")
    assert overview.returncode == 0, overview.stderr
    assert "train" in overview.stdout
    help_of_train = _run_alone(recollect, "train", "--help")
    assert help_of_train.returncode == 0, help_of_train.stderr
    assert "--checkpoint-every" in help_of_train.stdout
    refused = _run_alone(recollect, "serve", "--json", "--set", f"data_folder={tmp_path / 'data'}")
    assert refused.returncode == 78
    error = json.loads(refused.stderr)["error"]
    assert error["reason"] == "PACKAGE_MISSING"
    assert "recollect[server]" in error["fix"]
    assert not (tmp_path / "data").exists()
    doctor = _run_alone(recollect, "doctor", "--json")
    states = {f["subject"]: f["state"] for f in json.loads(doctor.stdout)["findings"]}
    assert doctor.returncode == 1
    assert states["server: presidio_analyzer"] == "missing"
    assert {state for name, state in states.items() if name.startswith("trainer: ")} == {"ok"}


@pytest.mark.parametrize(
    "module", ["recollect.mixer", "recollect.trainer", "recollect.services.cli"]
)
def test_importing_a_face_brings_no_heavy_package(module: str) -> None:
    heavy = "{'torch', 'transformers', 'presidio_analyzer', 'faiss', 'duckdb', 'datasets', 'spacy'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_dependency_is_locked() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    asked = _names(PROJECT["project"]["dependencies"])
    for extra in ("server", "trainer", "dev"):
        asked |= _names(extras[extra])
    assert {name.replace("_", "-") for name in asked} <= locked


def _runs_code_from_data(node: ast.AST) -> bool:
    """Law 10: no pickle, no eval, no code that comes with a model."""
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in UNSAFE_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] in UNSAFE_MODULES
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    trusting = [k for k in node.keywords if k.arg == "trust_remote_code"]
    return called in UNSAFE_CALLS or any(ast.unparse(k.value) != "False" for k in trusting)


UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "compile", "torch.load", "yaml.unsafe_load", "yaml.full_load"}


def test_no_code_comes_from_data() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for name in CODE
        for path in (ROOT / name).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _runs_code_from_data(node)
    ]
    assert offenders == []

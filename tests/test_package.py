"""The package: every folder is shipped, the arrows hold, and extras bring only what they should."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

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


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[; ]", line)[0].lower() for line in requirements}


def test_the_trainer_extra_brings_neither_presidio_nor_faiss_nor_duckdb() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    brought = _names(PROJECT["project"]["dependencies"]) | _names(extras["trainer"])
    seen: set[str] = set()
    while brought - seen:
        name = (brought - seen).pop()
        seen.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        brought |= _names([line for line in needs if "extra ==" not in line])
    assert not brought & {"presidio-analyzer", "faiss-cpu", "duckdb", "spacy"}


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

"""Where a model lies, and what must hold of it before anything of it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from ....mixer.errors import Reason, RecollectError
from .options import VerifierOptions

GLINER_CONFIG = "gliner_config.json"
# Nothing else is ever fetched: no pickle, no code.
_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model")
_CONFIGS = ("config.json", GLINER_CONFIG, "tokenizer_config.json")
_FIX = "Name a folder with config.json, model.safetensors and tokenizer.json."
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
_CHUNK = 1 << 20


def model_folder(options: VerifierOptions) -> Path:
    """The folder of the policy's model, checked.

    Raises:
        RecollectError: MODEL_UNUSABLE where there is none, its weights are pickled or not those
            that the policy pins, or it would bring code along; PACKAGE_MISSING.
    """
    folder = Path(options.model).expanduser()
    if not folder.is_dir():
        if options.model.startswith((".", "/", "~")):
            raise unusable(folder, "there is no such folder")
        folder = fetched(options.model, options.revision, allow_downloads=options.allow_downloads)
    _require_weights(folder)
    require_no_code(folder)
    if options.digest is not None and (found := weights_digest(folder)) != options.digest:
        raise unusable(
            folder,
            f"the weights have digest {found}, but the policy pins {options.digest}",
            "Restore the pinned weights, or pin the new digest on purpose.",
        )
    return folder


def fetched(
    name: str, revision: str | None, *, allow_downloads: bool, patterns: tuple[str, ...] = _FETCHED
) -> Path:
    """The folder of a model that is named, from this machine's cache of the Hugging Face Hub.

    Raises:
        RecollectError: MODEL_UNUSABLE where it is not there and may not be, or cannot be, fetched.
    """
    hub = imported("huggingface_hub", 'pip install "recollect[server]"')
    try:
        return Path(
            hub.snapshot_download(
                name,
                revision=revision,
                local_files_only=not allow_downloads,
                allow_patterns=list(patterns),
            )
        )
    except Exception as error:
        what = "cannot be fetched" if allow_downloads else "is no folder, and not on this machine"
        raise RecollectError(
            Reason.MODEL_UNUSABLE,
            f"the model {what} ({type(error).__name__})",
            where=name,
            fix="Name a folder, or set allow_downloads to fetch it from the Hugging Face Hub.",
        ) from None


def imported(package: str, install: str) -> Any:
    """A package that may be missing.

    Raises:
        RecollectError: PACKAGE_MISSING with how to install it.
    """
    try:
        return import_module(package)
    except ImportError:
        raise RecollectError(
            Reason.PACKAGE_MISSING,
            f"the package {package}, which the verifier needs, is missing",
            where="policy.verifier",
            fix=install,
        ) from None


def weights_digest(folder: Path) -> str:
    """SHA-256 of the weights; of several files, over all of them in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _require_weights(folder: Path) -> None:
    if not any((folder / name).is_file() for name in ("config.json", GLINER_CONFIG)):
        raise unusable(folder, "there is no config.json")
    if any(folder.glob("*.safetensors")):
        return
    pickled = any(path.suffix in _PICKLES for path in folder.iterdir())
    if pickled:
        raise unusable(
            folder,
            "the weights are pickled, and a pickle may run anything",
            "Convert them with safetensors, on a machine that may be lost.",
        )
    raise unusable(folder, "there is no model.safetensors")


def require_no_code(folder: Path) -> None:
    """Refuses a folder whose configuration names code that comes with it.

    Raises:
        RecollectError: MODEL_UNUSABLE.
    """
    for name in _CONFIGS:
        path = folder / name
        if not path.is_file():
            continue
        try:
            keys = set(_keys(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, RecursionError) as error:
            raise unusable(path, f"it cannot be read ({type(error).__name__})") from None
        if "auto_map" in keys:
            raise unusable(
                path,
                "the model brings code of its own (auto_map), and code from data is never run",
                "Choose a model of an architecture that transformers has.",
            )


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def unusable(where: Path, what: str, fix: str = _FIX) -> RecollectError:
    """The refusal of a model."""
    return RecollectError(Reason.MODEL_UNUSABLE, what, where=str(where), fix=fix)

"""Configuration: one YAML file, validated; every value can be overridden by environment and flag.

Order of precedence: `--set key=value`, then `RECOLLECT_<SECTION>__<KEY>` in the environment, then
the YAML file, then the default that stands here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ..mixer.errors import Reason, RecollectError
from .privacy import Policy

SHIPPED_MODEL = Path(__file__).parent / "teacher" / "model"
"""Folder of the small frozen model that ships with the package."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TeacherSettings(_Section):
    """The frozen model that rehearses, annotates and lends its tokenizer to plans."""

    folder: Path = SHIPPED_MODEL
    """Folder with config.json, model.safetensors and tokenizer.json."""
    digest: str | None = None
    """SHA-256 that model.safetensors must have; None pins whatever is there at start."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 0.9
    """Sampling temperature of pseudo-rehearsal."""
    threads: Annotated[int, Field(ge=1)] = 2
    """CPU threads that torch may use inside the service."""


class StoreSettings(_Section):
    """The replay store."""

    near_duplicate_threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Least cosine similarity of two near-duplicates."""


class StreamSettings(_Section):
    """Batches over gRPC."""

    drain_seconds: Annotated[float, Field(ge=0)] = 5.0
    """How long open calls may finish after SIGTERM."""


class TlsSettings(_Section):
    """Certificate files for TCP; read again at every handshake once they were replaced."""

    certificate: Path | None = None
    """The service's certificate (PEM); None: DATA/access/tls/server.pem, if it is there."""
    key: Path | None = None
    """Key of that certificate; None: DATA/access/tls/server.key, if it is there."""
    client_ca: Path | None = None
    """Certificates of those who may sign clients'; if set, every client has to show one."""


class MetricsSettings(_Section):
    """Figures for Prometheus, over HTTP."""

    address: str | None = None
    """Where they can be read: host:port (port 0 picks a free one) or unix:/path; None: nowhere."""
    allow_remote: bool = False
    """Needed to tell them beyond loopback, where nobody is asked who they are."""


class LogSettings(_Section):
    """Lines on standard error; they never hold text of examples."""

    format: Literal["text", "json"] = "text"
    """How a line is written."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is told; info: every call that ended."""


class TraceSettings(_Section):
    """Traces of OpenTelemetry, from a fetch to its acknowledgement."""

    exporter: Literal["none", "otlp"] = "none"
    """otlp: to where OTEL_EXPORTER_OTLP_ENDPOINT says; needs the extra observe."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="RECOLLECT_",
        env_nested_delimiter="__",
        validate_default=True,
    )

    version: Literal[1] = 1
    """Version of this file's layout."""
    data_folder: Path = Path("recollect-data")
    """Where segments, ledger, keys and caches live."""
    address: str | None = None
    """Where the service listens: host:port (port 0 picks a free one), unix:/path, or, left out, the
    Unix socket recollect.sock in the data folder."""
    insecure: bool = False
    """Listen on TCP in the clear, and answer anybody as long as no credential was ever issued."""
    allow_remote: bool = False
    """Needed, beside insecure, to listen in the clear beyond loopback."""
    reflection: bool = False
    """Answer gRPC server reflection, to those who have a credential."""
    max_open_tenants: Annotated[int, Field(ge=1)] = 16
    """Tenants whose rooms may be open at a time; further ones take the place of idle ones."""
    ratio_policy: Path | None = None
    """YAML file with floors and ceilings of shares that every sealed mix has to keep."""
    teacher: TeacherSettings = TeacherSettings()
    privacy: Policy = Policy()
    store: StoreSettings = StoreSettings()
    stream: StreamSettings = StreamSettings()
    tls: TlsSettings = TlsSettings()
    metrics: MetricsSettings = MetricsSettings()
    logs: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()

    _file_values: ClassVar[dict[str, Any]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before environment before file."""
        file_settings = InitSettingsSource(settings_cls, cls._file_values)
        return init_settings, env_settings, file_settings


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "the configuration file is not UTF-8.",
            where=str(path),
            fix="Convert the file to UTF-8.",
        ) from None
    except OSError as error:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"cannot read the configuration file: {error.strerror}.",
            where=str(path),
            fix="Name an existing file with --config, or leave the option out.",
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "the configuration is not valid YAML.",
            where=f"{path}{line}",
            fix="Correct the line; `recollect config schema` prints the schema.",
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"the configuration must be a mapping, not a {type(values).__name__}.",
            where=str(path),
            fix="Write `key: value` lines; `recollect config schema` prints the schema.",
        )
    return values


def _nest(overrides: Sequence[str]) -> dict[str, Any]:
    """`["teacher.threads=4"]` as a nested mapping; values are read as YAML scalars."""
    nested: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"--set takes key=value, not {override!r}.",
                where="--set",
                fix="For example --set teacher.threads=4.",
            )
        section: Any = nested
        *parents, last = key.split(".")
        for parent in parents:
            section = section.setdefault(parent, {}) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"{key!r} lies below a value, not below a section.",
                where="--set",
                fix="Set the section's keys one by one.",
            )
        section[last] = _scalar(value)
    return nested


def _scalar(text: str) -> Any:
    """The text as YAML, or as it stands where it is none: an IPv6 address, for example."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def load_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """The effective configuration.

    Args:
        path: YAML file, or None for defaults and environment alone.
        overrides: `key=value` texts with dotted keys; they win over everything.

    Raises:
        RecollectError: CONFIG_INVALID, naming every field that is wrong.
    """
    file_values = _read_yaml(path) if path else {}
    configured = type("Settings", (Settings,), {"_file_values": file_values})
    try:
        values = dict(configured(**_nest(overrides)))
    except SettingsError as error:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"a value of the environment cannot be read: {error}.",
            where="RECOLLECT_…",
            fix="Set a section's keys one by one, as in RECOLLECT_TEACHER__THREADS=4.",
        ) from None
    except ValidationError as error:
        problems = [
            (".".join(str(part) for part in item["loc"]), item["msg"]) for item in error.errors()
        ]
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "; ".join(f"{field}: {text}" for field, text in problems) + ".",
            where=str(path or "configuration"),
            fix="`recollect config schema` prints the schema, `recollect doctor` the values.",
        ) from None
    return Settings.model_construct(**values)


def json_schema() -> Mapping[str, Any]:
    """JSON Schema of the configuration file."""
    schema: dict[str, Any] = Settings.model_json_schema()
    folder = schema["$defs"]["TeacherSettings"]["properties"]["folder"]
    folder["default"] = "the model that ships with the package"
    schema["$defs"]["Policy"]["properties"]["entities"]["default"].sort()
    return schema


def to_json(settings: Settings) -> str:
    """The effective values as indented JSON."""
    values = settings.model_dump(mode="json")
    values["privacy"]["entities"].sort()
    return json.dumps(values, indent=2)

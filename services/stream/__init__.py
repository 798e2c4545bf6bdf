"""Streaming: token cache, Arrow frames and the batch service."""

from .annotations import AnnotationShelf, AnnotationWriter
from .caches import TokenCaches
from .frames import MAX_FRAME_BYTES, encode_frame
from .gathering import compile_kernels
from .measuring import contents_of
from .options import SERVER_OPTIONS
from .service import PlanBook, StreamServicer, encode_response, handlers_of
from .template import ChatTemplate, Rendered
from .tokens import CacheKey, TokenCache

__all__ = [
    "MAX_FRAME_BYTES",
    "SERVER_OPTIONS",
    "AnnotationShelf",
    "AnnotationWriter",
    "CacheKey",
    "ChatTemplate",
    "PlanBook",
    "Rendered",
    "StreamServicer",
    "TokenCache",
    "TokenCaches",
    "compile_kernels",
    "contents_of",
    "encode_frame",
    "encode_response",
    "handlers_of",
]

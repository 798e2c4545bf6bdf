"""The verifier: a model of the user's own that reads after the other stages, and only adds.

Any Hugging Face token classifier, or a GLiNER model, from a folder or by name. Importing this
package is cheap; torch is loaded with the first model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .options import VerifierOptions

if TYPE_CHECKING:
    from .verifier import Verifier

__all__ = ["Verifier", "VerifierOptions"]


def __getattr__(name: str) -> Any:
    if name != "Verifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .verifier import Verifier

    return Verifier

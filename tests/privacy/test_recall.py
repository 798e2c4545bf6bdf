from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from recollect.services.privacy import Deidentifier, missed


@pytest.mark.slow
def test_recall_on_generated_sentences_does_not_sink(
    deidentifier: Deidentifier, external_data: Path
) -> None:
    """Sentences that others invented, most of them with names from outside our lists."""
    path = external_data / "pii" / "presidio_generated_small.json.gz"
    sentences = json.loads(gzip.decompress(path.read_bytes()))
    rows = [
        {
            "id": str(number),
            "text": sentence["full_text"],
            "spans": [
                {
                    "entity_type": span["entity_type"],
                    "start": span["start_position"],
                    "end": span["end_position"],
                }
                for span in sentence["spans"]
            ],
        }
        for number, sentence in enumerate(sentences)
    ]
    report = missed(rows, deidentifier)
    recall = report.recall()
    print({kind: (round(share, 3), report.num_spans[kind]) for kind, share in recall.items()})
    for kind in ("CREDIT_CARD", "EMAIL_ADDRESS", "IP_ADDRESS", "US_SSN"):
        assert recall[kind] == 1.0
    assert recall["PERSON"] >= 0.55
    assert recall["PHONE_NUMBER"] >= 0.65

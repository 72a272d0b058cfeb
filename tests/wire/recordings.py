"""Real exchanges with the providers, read from ../shared/recordings where that is present."""

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3] / "shared" / "recordings"
ABSENT = f"no recordings at {ROOT.parent.name}/{ROOT.name} beside the checkout"


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer. ``path`` names the file below the recordings."""

    path: str
    provider: str
    endpoint: str
    stream: bool
    status: int
    model: str
    fidelity: str
    features: frozenset[str]
    request: dict[str, Any] = field(repr=False)
    response: dict[str, Any] = field(repr=False)

    @property
    def response_bytes(self) -> bytes:
        body = self.response["body"]
        if body is None:
            return b""
        return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()


def present() -> bool:
    return (ROOT / "INDEX.tsv").is_file()


def exchanges(provider: str, *endpoints: str) -> Iterator[Exchange]:
    """Yield the recorded exchanges of a provider's endpoints, in the order of the index."""
    if not present():
        return
    with (ROOT / "INDEX.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["provider"] != provider or row["endpoint"] not in endpoints:
                continue
            content = json.loads((ROOT / row["path"]).read_text(encoding="utf-8"))
            yield Exchange(
                path=row["path"],
                provider=provider,
                endpoint=row["endpoint"],
                stream=row["stream"] == "yes",
                status=int(row["status"]),
                model=row["model"],
                fidelity=row["fidelity"],
                features=frozenset(row["features"].split(",")),
                request=content["request"],
                response=content["response"],
            )


def cuts(data: bytes, seed: int, most: int = 40) -> Iterator[bytes]:
    """Cut ``data`` at random byte positions (the same ones for the same seed)."""
    rng = random.Random(seed)
    positions = sorted(rng.sample(range(1, len(data)), min(most, len(data) - 1))) if len(data) > 1 else []
    for start, end in zip([0, *positions], [*positions, len(data)], strict=True):
        yield data[start:end]

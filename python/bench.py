"""Measures recorders of the library beside each other: `python bench.py [SCALE]`, in an environment with this module.

Each case runs for all of them, one after the other, in one directory on the disk that it is started on; SQLite with
full synchronisation, which is its default, and files. SCALE multiplies the number of events, 1 unless told otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from uuid import uuid4

from eventsourcing.persistence import InfrastructureFactory, StoredEvent
from eventsourcing.utils import Environment
from eventsourcing_annals.library import HAS_EVENT_IDS

STATE = b"x" * 120
PER_AGGREGATE = 10
Measure = Callable[[Any, int], float]


def new_events(count: int) -> list[StoredEvent]:
    """Events of new aggregates."""
    events = []
    for number in range(count):
        if number % PER_AGGREGATE == 0:
            aggregate_id: Any = str(uuid4()) if HAS_EVENT_IDS else uuid4()
        events.append(
            StoredEvent(
                originator_id=aggregate_id,
                originator_version=number % PER_AGGREGATE + 1,
                topic="topic",
                state=STATE,
            )
        )
    return events


def inserts_one_by_one(recorder: Any, count: int) -> float:
    events = new_events(count)
    start = perf_counter()
    for event in events:
        recorder.insert_events([event])
    return count / (perf_counter() - start)


def inserts_by_16_threads(recorder: Any, count: int) -> float:
    parts = [new_events(count // 16) for _ in range(16)]

    def insert(part: list[StoredEvent]) -> None:
        for event in part:
            recorder.insert_events([event])

    start = perf_counter()
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(insert, parts))
    return len(parts) * len(parts[0]) / (perf_counter() - start)


def selects(recorder: Any, count: int) -> float:
    events = new_events(count)
    for start_of in range(0, count, 1000):
        recorder.insert_events(events[start_of : start_of + 1000])
    ids = {event.originator_id for event in events}
    start = perf_counter()
    found = sum(len(recorder.select_events(one)) for one in ids)
    assert found == count
    return count / (perf_counter() - start)


def pages(recorder: Any, count: int) -> float:
    for _ in range(0, count, 1000):
        recorder.insert_events(new_events(1000))
    start, found, last = perf_counter(), 0, None
    while page := recorder.select_notifications(last, 500, inclusive_of_start=False):
        found, last = found + len(page), page[-1].id
    assert found == count
    return count / (perf_counter() - start)


# Name, what measures it, events, and how many of those for what syncs each.
CASES: list[tuple[str, Measure, int, int]] = [
    ("1-event inserts, 1 thread", inserts_one_by_one, 20_000, 1_000),
    ("1-event inserts, 16 threads", inserts_by_16_threads, 20_000, 1_600),
    ("select by aggregate, 10 events each", selects, 50_000, 50_000),
    ("notifications, 500 a page", pages, 50_000, 50_000),
]


def recorder_of(module: str, directory: Path) -> tuple[Any, Any]:
    env = {
        "PERSISTENCE_MODULE": module,
        "ANNALS_PATH": str(directory),
        "SQLITE_DBNAME": str(directory / "events.db"),
    }
    factory: Any = InfrastructureFactory.construct(Environment(name="Bench", env=env))
    return factory, factory.application_recorder()


def main() -> None:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print("| events a second | POPO | SQLite | Annals | Annals : SQLite |")
    print("|---|---|---|---|---|")
    for name, measure, fast, slow in CASES:
        rates = {}
        for module in ("eventsourcing.popo", "eventsourcing.sqlite", "eventsourcing_annals"):
            count = fast if module == "eventsourcing.popo" else slow
            if module == "eventsourcing_annals" and slow < fast:
                # Long enough to be measured.
                count = 4 * slow
            with TemporaryDirectory(dir=".") as directory:
                factory, recorder = recorder_of(module, Path(directory))
                rates[module] = measure(recorder, max(int(count * scale) // 1000, 1) * 1000)
                factory.close()
        popo, sqlite, annals = rates.values()
        print(f"| {name} | {popo:,.0f} | {sqlite:,.0f} | {annals:,.0f} | {annals / sqlite:.1f} |", flush=True)


if __name__ == "__main__":
    main()

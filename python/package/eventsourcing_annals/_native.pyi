"""The native half: see `src/` of the project."""

from collections.abc import Sequence
from os import PathLike
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent

class Store:
    """A lease of the log in a directory."""

    def __new__(cls, dir: str | PathLike[str], buffered: bool) -> Store: ...
    def close(self) -> None: ...
    @property
    def is_closed(self) -> bool: ...
    def insert(
        self, events: Sequence[StoredEvent], tracking: tuple[str, int] | None = None
    ) -> list[int]: ...
    def select(
        self,
        originator_id: UUID | str,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]: ...
    def notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None,
        topics: list[str],
        inclusive_of_start: bool,
    ) -> list[Notification]: ...
    def head(self) -> int | None: ...
    def visible_head(self) -> int | None: ...
    def subscribe(self, after: int | None, topics: list[str]) -> Following: ...
    def tracking(self, name: str) -> int | None: ...
    def wait_tracking(self, name: str, position: int, timeout: float) -> bool: ...
    def insert_snapshots(self, snapshots: Sequence[StoredEvent]) -> None: ...
    def select_snapshots(
        self,
        originator_id: UUID | str,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]: ...
    def append_dcb(
        self, events: Sequence[Any], condition: Any | None = None
    ) -> int | None: ...
    def read_dcb(
        self,
        query: Any | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> Reading: ...
    def subscribe_dcb(
        self, query: Any | None = None, after: int | None = None
    ) -> Following: ...
    def row(self, key: str) -> tuple[bytes | None, int | None]: ...
    def write_rows(
        self,
        rows: Sequence[tuple[str, bytes | None]],
        seen: Sequence[tuple[str, int | None]],
        tracking: tuple[str, int] | None = None,
    ) -> None: ...

class Following:
    """A place in the log that moves on."""

    def next_batch(self, limit: int) -> list[Any] | None: ...
    def stop(self) -> None: ...

class Reading:
    """What matched a query at one moment."""

    @property
    def head(self) -> int | None: ...
    def next_page(self) -> list[Any]: ...

def close_all() -> None: ...

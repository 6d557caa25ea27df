"""Decisions without aggregates, on a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventsourcing.persistence import ProgrammingError

from eventsourcing_annals.library import DCBReadResponse, DCBRecorder, DCBSubscription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_annals._native import Store

_BATCH = 500
"""Events that a subscription takes from the log at a time."""


class AnnalsDCBRecorder(DCBRecorder):  # type: ignore[misc]
    """Keeps events with tags; an append may demand that nothing which matches a query has come in between."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def head(self) -> int | None:
        """The last position; ``None`` when there are no events."""
        return self._store.visible_head()

    def read(
        self,
        query: Any = None,
        *,
        after: int | None = None,
        limit: int | None = None,
    ) -> Any:
        return AnnalsDCBReadResponse(self._store, query, after, limit)

    def append(self, events: Sequence[Any], condition: Any = None) -> int:
        if not events:
            msg = "an append needs at least one event"
            raise ProgrammingError(msg)
        position = self._store.append_dcb(events, condition)
        assert position is not None
        return position

    def subscribe(self, query: Any = None, *, after: int | None = None) -> Any:
        return AnnalsDCBSubscription(self, query=query, after=after)


class AnnalsDCBReadResponse(DCBReadResponse):  # type: ignore[misc]
    """What matched when the reading began, read a page at a time; with a limit all at once."""

    def __init__(
        self, store: Store, query: Any, after: int | None, limit: int | None
    ) -> None:
        self._reading = store.read_dcb(query, after, limit)
        self._taken: list[Any] = []
        self._head = self._reading.head
        if limit is not None:
            while page := self._reading.next_page():
                self._taken += page
            self._head = self._taken[-1].position if self._taken else None
            self._taken.reverse()

    @property
    def head(self) -> int | None:
        return self._head

    def __next__(self) -> Any:
        if not self._taken:
            self._taken = self._reading.next_page()
            self._taken.reverse()
        if not self._taken:
            raise StopIteration
        return self._taken.pop()


class AnnalsDCBSubscription(DCBSubscription):  # type: ignore[misc]
    """Follows what matches a query: what is there, then what comes.

    Waits in the log, without a thread of its own. ``stop()`` ends it from any thread; Ctrl-C is seen.
    """

    def __init__(
        self, recorder: AnnalsDCBRecorder, query: Any = None, after: int | None = None
    ) -> None:
        super().__init__(recorder=recorder, query=query, after=after)
        self._following = recorder._store.subscribe_dcb(query, after)
        self._taken: list[Any] = []

    def stop(self) -> None:
        super().stop()
        self._following.stop()

    def __next__(self) -> Any:
        if not self._taken and not self._has_been_stopped:
            batch = self._following.next_batch(_BATCH) or []
            batch.reverse()
            self._taken = batch
        if self._has_been_stopped or not self._taken:
            raise StopIteration
        event = self._taken.pop()
        self._last_position = event.position
        return event

"""Recorders of aggregates, applications, tracking positions and processes, on a log."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    ProcessRecorder,
    Subscription,
    TrackingRecorder,
    WaitInterruptedError,
)

from eventsourcing_annals.library import position_of, upstream_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Event
    from uuid import UUID

    from eventsourcing.persistence import StoredEvent, Tracking

    from eventsourcing_annals._native import Store

_BATCH = 500
"""Events that a subscription takes from the log at a time."""

_SIGNALS = 0.2
"""Seconds that a wait goes on before signals are looked at."""

_INTERRUPT = 0.02
"""Seconds that a wait goes on before an event that may interrupt it is looked at."""


class AnnalsAggregateRecorder(AggregateRecorder):
    """Keeps the events of aggregates, or their snapshots.

    Versions of an aggregate have to ascend in the order they are inserted; gaps are allowed.
    """

    def __init__(self, store: Store, *, purpose: str = "events") -> None:
        self._store = store
        self._holds_snapshots = purpose == "snapshots"

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_: Any
    ) -> Sequence[int] | None:
        if self._holds_snapshots:
            self._store.insert_snapshots(stored_events)
        else:
            self._store.insert(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        if self._holds_snapshots:
            return self._store.select_snapshots(originator_id, gt, lte, desc, limit)
        return self._store.select(originator_id, gt, lte, desc, limit)


class AnnalsApplicationRecorder(AnnalsAggregateRecorder, ApplicationRecorder):
    """Keeps the events of an application, in one sequence without gaps."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_: Any
    ) -> Sequence[int] | None:
        return self._store.insert(stored_events)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        return self._store.notifications(
            start, limit, stop, list(topics), inclusive_of_start
        )

    def max_notification_id(self) -> int | None:
        return self._store.head()

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> AnnalsSubscription:
        return AnnalsSubscription(self, gt=gt, topics=topics)


class AnnalsSubscription(Subscription[AnnalsApplicationRecorder]):
    """Follows an application: what is there, then what comes.

    Waits in the log, without a thread of its own. ``stop()`` ends it from any thread; Ctrl-C is seen.
    """

    def __init__(
        self,
        recorder: AnnalsApplicationRecorder,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._following = recorder._store.subscribe(gt, list(topics))
        self._taken: list[Notification] = []

    def stop(self) -> None:
        super().stop()
        self._following.stop()

    def __next__(self) -> Notification:
        if not self._taken and not self._has_been_stopped:
            batch = self._following.next_batch(_BATCH) or []
            batch.reverse()
            self._taken = batch
        if self._has_been_stopped or not self._taken:
            raise StopIteration
        notification = self._taken.pop()
        self._last_notification_id = notification.id
        return notification


class AnnalsTrackingRecorder(TrackingRecorder):
    """Keeps how far each upstream has been processed."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def insert_tracking(self, tracking: Tracking) -> None:
        self._store.insert((), position_of(tracking))

    def max_tracking_id(self, application_name: str) -> int | None:
        return self._store.tracking(application_name)

    def has_tracking_id(  # type: ignore[override]
        self,
        upstream: str | None = None,
        notification_id: int | None = None,
        **named: Any,
    ) -> bool:
        """Whether the upstream has been processed up to this position; true of ``None``."""
        if upstream is None:
            upstream = upstream_of(named)
        if notification_id is None:
            return True
        reached = self._store.tracking(upstream)
        return reached is not None and reached >= notification_id

    def wait(  # type: ignore[override]
        self,
        upstream: str | None = None,
        notification_id: int | None = None,
        timeout: float = 1.0,
        interrupt: Event | None = None,
        **named: Any,
    ) -> None:
        """Waits until the upstream has been processed up to this position.

        Is woken by the very insert of it, instead of looking again and again.
        """
        if upstream is None:
            upstream = upstream_of(named)
        if self.has_tracking_id(upstream, notification_id):
            return
        assert notification_id is not None
        deadline = monotonic() + timeout
        at_a_time = _SIGNALS if interrupt is None else _INTERRUPT
        while True:
            if interrupt is not None and interrupt.is_set():
                raise WaitInterruptedError
            remaining = max(deadline - monotonic(), 0.0)
            if self._store.wait_tracking(
                upstream, notification_id, min(remaining, at_a_time)
            ):
                return
            if remaining == 0.0:
                msg = (
                    f"Timed out waiting for notification {notification_id} "
                    f"from application '{upstream}' to be processed"
                )
                raise TimeoutError(msg)


class AnnalsProcessRecorder(
    AnnalsTrackingRecorder, AnnalsApplicationRecorder, ProcessRecorder
):
    """Keeps events together with the tracking position they are the effect of, all or nothing."""

    def __init__(self, store: Store) -> None:
        AnnalsApplicationRecorder.__init__(self, store)

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        tracking: Tracking | None = None,
        **_: Any,
    ) -> Sequence[int] | None:
        return self._store.insert(stored_events, position_of(tracking))

"""The two generations of the library that one wheel serves: 9.5 and 10."""

from __future__ import annotations

from typing import Any

from eventsourcing.dcb import api
from eventsourcing.dcb import persistence as dcb_persistence
from eventsourcing.persistence import StoredEvent, Tracking

HAS_EVENT_IDS: bool = "uuid" in StoredEvent.__dataclass_fields__
"""Whether it is 10 or later: events have ids and metadata, and ids of aggregates are text."""

_PREFIX = "Dcb" if hasattr(api, "DcbRecorder") else "DCB"

DCBRecorder: Any = getattr(api, _PREFIX + "Recorder")
DCBReadResponse: Any = getattr(api, _PREFIX + "ReadResponse")
DCBSubscription: Any = getattr(api, _PREFIX + "Subscription")
DCBInfrastructureFactory: Any = getattr(
    dcb_persistence, _PREFIX + "InfrastructureFactory"
)

_UPSTREAM = "context_name" if HAS_EVENT_IDS else "application_name"


def position_of(tracking: Tracking | None) -> tuple[str, int] | None:
    """The upstream and the position in it."""
    if tracking is None:
        return None
    return getattr(tracking, _UPSTREAM), tracking.notification_id


def upstream_of(arguments: dict[str, Any]) -> str:
    """The upstream, from arguments that were given by name: the name has changed in 10."""
    name: str = arguments.pop(_UPSTREAM)
    if arguments:
        msg = f"unexpected arguments: {', '.join(arguments)}"
        raise TypeError(msg)
    return name

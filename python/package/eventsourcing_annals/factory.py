"""The factory that the library finds by ``PERSISTENCE_MODULE=eventsourcing_annals``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.utils import resolve_topic

from eventsourcing_annals._native import Store
from eventsourcing_annals.dcb import AnnalsDCBRecorder
from eventsourcing_annals.library import DCBInfrastructureFactory
from eventsourcing_annals.recorders import (
    AnnalsAggregateRecorder,
    AnnalsApplicationRecorder,
    AnnalsProcessRecorder,
    AnnalsTrackingRecorder,
)

if TYPE_CHECKING:
    from types import TracebackType

    from eventsourcing.utils import Environment, EnvType

_Recorder = TypeVar("_Recorder")


class Factory(
    InfrastructureFactory[AnnalsTrackingRecorder],
    DCBInfrastructureFactory[AnnalsTrackingRecorder],  # type: ignore[misc]
):
    """Makes the recorders of an application, on one log: that of its name, below ``ANNALS_PATH``.

    All factories of a process that name the same log share it. It is closed with the last of them.
    """

    ANNALS_PATH = "ANNALS_PATH"
    ANNALS_DURABILITY = "ANNALS_DURABILITY"
    AGGREGATE_RECORDER_TOPIC = "AGGREGATE_RECORDER_TOPIC"
    DCB_RECORDER_TOPIC = "DCB_RECORDER_TOPIC"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        path = self.env.get(self.ANNALS_PATH)
        if not path:
            msg = (
                f"{self.ANNALS_PATH} is not set; set it to the directory below which "
                "each application has its log"
            )
            raise OSError(msg)
        durability = (self.env.get(self.ANNALS_DURABILITY) or "sync").lower()
        if durability not in ("sync", "buffered"):
            msg = f"{self.ANNALS_DURABILITY} is {durability!r}, expected sync or buffered"
            raise OSError(msg)
        directory = Path(path) / directory_of(self.env.name)
        directory.mkdir(parents=True, exist_ok=True)
        # Under its real path, by which those who open the same one find each other.
        self._store = Store(directory.resolve(), durability == "buffered")

    def aggregate_recorder(self, purpose: str = "events") -> AnnalsAggregateRecorder:
        recorder_class = self._class(
            self.AGGREGATE_RECORDER_TOPIC, AnnalsAggregateRecorder
        )
        return recorder_class(self._store, purpose=purpose)

    def application_recorder(self) -> AnnalsApplicationRecorder:
        topic = self.APPLICATION_RECORDER_TOPIC
        return self._class(topic, AnnalsApplicationRecorder)(self._store)

    def tracking_recorder(
        self, tracking_recorder_class: type[AnnalsTrackingRecorder] | None = None
    ) -> AnnalsTrackingRecorder:
        recorder_class = tracking_recorder_class or self._class(
            self.TRACKING_RECORDER_TOPIC, AnnalsTrackingRecorder
        )
        _check(recorder_class, AnnalsTrackingRecorder)
        return recorder_class(self._store)

    def process_recorder(self) -> AnnalsProcessRecorder:
        topic = self.PROCESS_RECORDER_TOPIC
        return self._class(topic, AnnalsProcessRecorder)(self._store)

    def dcb_recorder(self) -> AnnalsDCBRecorder:
        return self._class(self.DCB_RECORDER_TOPIC, AnnalsDCBRecorder)(self._store)

    def close(self) -> None:
        """Gives the log back; the recorders of this factory can no longer be used."""
        self._store.close()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)
        self.close()

    def _class(self, variable: str, default: type[_Recorder]) -> type[_Recorder]:
        """The recorder class that a variable names, or the default."""
        topic = self.env.get(variable)
        if not topic:
            return default
        named: Any = resolve_topic(topic)
        _check(named, default)
        return named  # type: ignore[no-any-return]


def _check(given: Any, expected: type[Any]) -> None:
    if not (isinstance(given, type) and issubclass(given, expected)):
        msg = f"{given!r} is no subclass of {expected.__name__}, expected one"
        raise TypeError(msg)


def directory_of(name: str) -> str:
    """The directory of an application's log: its name, with what file systems do not take as it is in percent signs.

    Without a name it is ``default``.
    """
    quoted = quote(name, safe=" ")
    # A name that begins with a dot would be hidden, or the directory itself or the one above.
    if quoted.startswith("."):
        quoted = "%2E" + quoted[1:]
    return quoted or "default"

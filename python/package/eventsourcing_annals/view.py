"""Views whose rows are written together with the tracking position they are the effect of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventsourcing_annals.library import position_of
from eventsourcing_annals.recorders import AnnalsTrackingRecorder

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from eventsourcing.persistence import Tracking

    from eventsourcing_annals._native import Store


class AnnalsView(AnnalsTrackingRecorder):
    """A base class for views: rows of a text key and a value of bytes, in the log of the view.

    ::

        class Names(AnnalsView):
            def register(self, key: str, name: str, tracking: Tracking) -> None:
                with self.transaction() as tx:
                    tx.put(key, name.encode())
                    tx.track(tracking)
    """

    def get(self, key: str) -> bytes | None:
        """The value of a row; ``None`` when it is not there."""
        return self._store.row(key)[0]

    def transaction(self) -> Transaction:
        """Rows and a tracking position that are written together when its block ends, or not at all."""
        return Transaction(self._store)


class Transaction:
    """What one block writes. An exception in the block leaves everything as it was.

    At the end of the block ``IntegrityError`` is raised, and nothing written, when the tracking position is not above
    the recorded one, or when a row that was read in the block has changed since.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, bytes | None] = {}
        self._seen: dict[str, int | None] = {}
        self._tracking: Tracking | None = None

    def get(self, key: str) -> bytes | None:
        """The value of a row as this block has left it; ``None`` when it is not there."""
        if key in self._rows:
            return self._rows[key]
        value, version = self._store.row(key)
        self._seen.setdefault(key, version)
        return value

    def put(self, key: str, value: bytes) -> None:
        """Writes a row; a key has 1 to 251 bytes in UTF-8."""
        self._rows[key] = value

    def delete(self, key: str) -> None:
        """Deletes a row, if it is there."""
        self._rows[key] = None

    def track(self, tracking: Tracking) -> None:
        """Records how far the upstream has been processed."""
        self._tracking = tracking

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self._store.write_rows(
                list(self._rows.items()),
                list(self._seen.items()),
                position_of(self._tracking),
            )

"""Annals as a persistence module of the eventsourcing library.

Set ``PERSISTENCE_MODULE=eventsourcing_annals`` and ``ANNALS_PATH`` to a directory. Each application has a log of its
own below it, which the command line reads, too: ``annals cat DIRECTORY/APPLICATION``.

The library looks for the one factory of this module, so that no other may be imported here.
"""

import atexit

from eventsourcing_annals._native import close_all
from eventsourcing_annals.dcb import AnnalsDCBRecorder, AnnalsDCBSubscription
from eventsourcing_annals.factory import Factory
from eventsourcing_annals.recorders import (
    AnnalsAggregateRecorder,
    AnnalsApplicationRecorder,
    AnnalsProcessRecorder,
    AnnalsSubscription,
    AnnalsTrackingRecorder,
)
from eventsourcing_annals.view import AnnalsView, Transaction

__all__ = [
    "AnnalsAggregateRecorder",
    "AnnalsApplicationRecorder",
    "AnnalsDCBRecorder",
    "AnnalsDCBSubscription",
    "AnnalsProcessRecorder",
    "AnnalsSubscription",
    "AnnalsTrackingRecorder",
    "AnnalsView",
    "Factory",
    "Transaction",
]

# What was buffered is made durable, and the next open need not look at the end of the logs.
atexit.register(close_all)

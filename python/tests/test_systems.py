"""Systems under each runner: events are followed from application to application, each once, across restarts."""

from __future__ import annotations

from typing import Any
from unittest import TestCase, skipIf
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing_annals.library import HAS_EVENT_IDS

from tests.stores import directory

if not HAS_EVENT_IDS:
    from eventsourcing.application import AggregateNotFoundError, Application
    from eventsourcing.domain import Aggregate, event
    from eventsourcing.system import (
        MultiThreadedRunner,
        NewMultiThreadedRunner,
        NewSingleThreadedRunner,
        ProcessApplication,
        SingleThreadedRunner,
        System,
    )

    class Count(Aggregate):
        def __init__(self, name: str) -> None:
            self.name = name
            self.number = 0

        @staticmethod
        def create_id(name: str) -> UUID:
            return uuid5(NAMESPACE_URL, name)

        @event("Counted")
        def count(self) -> None:
            self.number += 1

    class Source(Application[UUID]):
        pass

    class Counter(ProcessApplication[UUID]):
        """Counts what comes from upstream; each count is an event of its own, and may be followed, too."""

        def policy(self, domain_event: Any, processing_event: Any) -> None:
            try:
                count: Count = self.repository.get(Count.create_id(self.name))
            except AggregateNotFoundError:
                count = Count(self.name)
            count.count()
            processing_event.collect_events(count)

        @property
        def number(self) -> int:
            return self.repository.get(Count.create_id(self.name)).number  # type: ignore[attr-defined,no-any-return]

    class Downstream(Counter):
        pass


@skipIf(HAS_EVENT_IDS, "written for 9.5")
class TestSystems(TestCase):
    def run_twice(self, runner_class: Any) -> None:
        env = {
            "PERSISTENCE_MODULE": "eventsourcing_annals",
            "ANNALS_PATH": directory(self),
        }
        for run in (1, 2):
            system = System(pipes=[[Source, Counter, Downstream]])
            with runner_class(system, env=env) as runner:
                source, counter, downstream = map(
                    runner.get, (Source, Counter, Downstream)
                )
                for _ in range(20):
                    saved = source.save(Aggregate())
                # Twice, for what is on its way.
                last = saved[-1].notification.id
                counter.recorder.wait("Source", last, timeout=30)
                counted = counter.recorder.max_notification_id()
                downstream.recorder.wait("Counter", counted, timeout=30)
                self.assertEqual(counter.number, 20 * run)
                # The first count is two events: one of the aggregate's creation.
                self.assertEqual(downstream.number, 20 * run + 1)
            for application in (source, counter, downstream):
                application.close()

    def test_single_threaded(self) -> None:
        self.run_twice(SingleThreadedRunner)

    def test_multi_threaded(self) -> None:
        self.run_twice(MultiThreadedRunner)

    def test_new_single_threaded(self) -> None:
        self.run_twice(NewSingleThreadedRunner)

    def test_new_multi_threaded(self) -> None:
        self.run_twice(NewMultiThreadedRunner)

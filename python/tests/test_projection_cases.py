"""The application and projection cases that the library ships, on Annals; and a view, as users write theirs."""

from __future__ import annotations

import os
from unittest import mock

from eventsourcing.persistence import Tracking
from eventsourcing.tests import application as application_cases
from eventsourcing.tests import projection as cases
from eventsourcing_annals import AnnalsView
from eventsourcing_annals.library import HAS_EVENT_IDS


from tests.stores import directory, factory


class EventCounters(AnnalsView, cases.EventCountersView):
    """Two rows, each a number as text."""

    def get_created_event_counter(self) -> int:
        return int(self.get("created") or 0)

    def get_subsequent_event_counter(self) -> int:
        return int(self.get("subsequent") or 0)

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._incr("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._incr("subsequent", tracking)

    def _incr(self, key: str, tracking: Tracking) -> None:
        with self.transaction() as tx:
            tx.put(key, b"%d" % (int(tx.get(key) or 0) + 1))
            tx.track(tracking)

    # As 10 names them.
    get_student_registered_counter = get_created_event_counter
    get_student_name_changed_counter = get_subsequent_event_counter
    incr_student_registered_counter = incr_created_event_counter
    incr_student_name_changed_counter = incr_subsequent_event_counter


class TestEventCountersView(cases.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> EventCounters:
        view = factory(self).tracking_recorder(EventCounters)
        assert isinstance(view, EventCounters)
        return view


def in_a_store_of_its_own(case: type, **env: str) -> type:
    """For cases that take `env` of their class: each test gets a directory of its own."""

    class Bound(case):  # type: ignore[misc,valid-type]
        view_class = EventCounters

        def setUp(self) -> None:
            self.env = {
                **env,
                "PERSISTENCE_MODULE": "eventsourcing_annals",
                "ANNALS_PATH": directory(self),
            }
            super().setUp()

    Bound.__name__ = Bound.__qualname__ = "Test" + case.__name__.removesuffix("TestCase")
    return Bound


decision_counters = getattr(
    cases, "DecisionCountersProjectionTestCase", None
) or getattr(cases, "TaggedDecisionCountersProjectionTestCase")

TestAggregateEventCounters = in_a_store_of_its_own(
    cases.AggregateEventCountersProjectionTestCase
)
# In 10 the application itself says how its events become bytes.
TestDecisionCounters = in_a_store_of_its_own(
    decision_counters,
    **{} if HAS_EVENT_IDS else {"MAPPER_TOPIC": "eventsourcing.dcb.msgpack:MessagePackMapper"},
)
TestEventSourcedProjection = in_a_store_of_its_own(cases.EventSourcedProjectionTestCase)


class WithEnvironment:
    """The application cases open several applications one after the other, and close none: each gets a directory."""

    def setUp(self) -> None:
        environment = mock.patch.dict(
            os.environ,
            {
                "PERSISTENCE_MODULE": "eventsourcing_annals",
                "ANNALS_PATH": directory(self),  # type: ignore[arg-type]
            },
        )
        environment.start()
        self.addCleanup(environment.stop)  # type: ignore[attr-defined]
        super().setUp()  # type: ignore[misc]


class TestApplication(WithEnvironment, application_cases.ApplicationTestCase):
    pass


class TestExampleApplication(
    WithEnvironment, application_cases.ExampleApplicationTestCase
):
    expected_factory_topic = "eventsourcing_annals.factory:Factory"


# A base is no test.
del decision_counters

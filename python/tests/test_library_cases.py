"""The recorder and factory cases that the library ships, on Annals."""

from __future__ import annotations

from eventsourcing.dcb import tests as dcb_cases
from eventsourcing.tests import persistence as cases
from eventsourcing.utils import Environment
from eventsourcing_annals import (
    AnnalsAggregateRecorder,
    AnnalsApplicationRecorder,
    AnnalsProcessRecorder,
    AnnalsTrackingRecorder,
    Factory,
)

from tests.stores import directory, factory

DCBRecorderTestCase = getattr(
    dcb_cases, "DcbRecorderTestCase", None
) or getattr(dcb_cases, "DCBRecorderTestCase")


class TestAggregateRecorder(cases.AggregateRecorderTestCase):
    # Known to 10 alone, where events have ids.
    recorder_supports_idempotent_appends = True

    def create_recorder(self) -> AnnalsAggregateRecorder:
        return factory(self).aggregate_recorder()


class TestApplicationRecorder(
    cases.ApplicationRecorderTestCase[AnnalsApplicationRecorder]
):
    EXPECT_CONTIGUOUS_NOTIFICATION_IDS = True
    recorder_supports_idempotent_appends = True

    def create_recorder(self) -> AnnalsApplicationRecorder:
        return factory(self).application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(cases.TrackingRecorderTestCase):
    def create_recorder(self) -> AnnalsTrackingRecorder:
        return factory(self).tracking_recorder()


class TestProcessRecorder(cases.ProcessRecorderTestCase):
    def create_recorder(self) -> AnnalsProcessRecorder:
        return factory(self).process_recorder()


class TestNonInterleaving(cases.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> AnnalsApplicationRecorder:
        return factory(self).application_recorder()


class ApplicationRecorderSubclass(AnnalsApplicationRecorder):
    pass


class TrackingRecorderSubclass(AnnalsTrackingRecorder):
    pass


class ProcessRecorderSubclass(AnnalsProcessRecorder):
    pass


class TestFactory(cases.InfrastructureFactoryTestCase[Factory]):
    def setUp(self) -> None:
        self.env = Environment(name="TestCase")
        self.env[Factory.PERSISTENCE_MODULE] = "eventsourcing_annals"
        self.env[Factory.ANNALS_PATH] = directory(self)
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[AnnalsAggregateRecorder]:
        return AnnalsAggregateRecorder

    def expected_application_recorder_class(self) -> type[AnnalsApplicationRecorder]:
        return AnnalsApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[AnnalsTrackingRecorder]:
        return AnnalsTrackingRecorder

    def expected_process_recorder_class(self) -> type[AnnalsProcessRecorder]:
        return AnnalsProcessRecorder

    def application_recorder_subclass(self) -> type[AnnalsApplicationRecorder]:
        return ApplicationRecorderSubclass

    def tracking_recorder_subclass(self) -> type[AnnalsTrackingRecorder]:
        return TrackingRecorderSubclass

    def process_recorder_subclass(self) -> type[AnnalsProcessRecorder]:
        return ProcessRecorderSubclass


class TestDCBRecorder(DCBRecorderTestCase):  # type: ignore[misc,valid-type]
    def test_append_read(self) -> None:
        self._test_append_read(factory(self).dcb_recorder())

    def test_append_subscribe(self) -> None:
        self._test_append_subscribe(factory(self).dcb_recorder())


# Bases are no tests.
del DCBRecorderTestCase

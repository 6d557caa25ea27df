"""What the library's cases leave out: logs that are shared, closed and refused, errors, waits, and other hands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from unittest import TestCase, skipIf
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from eventsourcing.persistence import (
    IntegrityError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment
from eventsourcing_annals import AnnalsView, Factory
from eventsourcing_annals.factory import directory_of
from eventsourcing_annals.library import HAS_EVENT_IDS

from tests.stores import directory, factory

if HAS_EVENT_IDS:
    from eventsourcing.errors import DataError
else:
    from eventsourcing.persistence import DataError


def event(originator_id: UUID | str, version: int, state: bytes = b"state") -> StoredEvent:
    return StoredEvent(
        originator_id=str(originator_id) if HAS_EVENT_IDS else originator_id,
        originator_version=version,
        topic="topic",
        state=state,
    )


class TestSharing(TestCase):
    def test_factories_of_one_log_share_it_and_the_last_one_closes_it(self) -> None:
        path = directory(self)
        first, second = factory(self, path), factory(self, path)
        recorder = second.application_recorder()
        first.application_recorder().insert_events([event(uuid4(), 1)])
        first.close()
        self.assertEqual(recorder.max_notification_id(), 1)
        second.close()
        with self.assertRaises(ProgrammingError):
            recorder.max_notification_id()
        again = factory(self, path).application_recorder()
        self.assertEqual(again.max_notification_id(), 1)

    def test_a_recorder_outlives_the_factory_that_nobody_holds(self) -> None:
        recorder = Factory(
            Environment(name="Test", env={"ANNALS_PATH": directory(self)})
        ).application_recorder()
        recorder.insert_events([event(uuid4(), 1)])
        self.assertEqual(recorder.max_notification_id(), 1)

    def test_each_name_has_a_log_of_its_own(self) -> None:
        path = directory(self)
        school = factory(self, path, "School").application_recorder()
        view = factory(self, path, "View").application_recorder()
        school.insert_events([event(uuid4(), 1)])
        self.assertIsNone(view.max_notification_id())
        self.assertEqual(sorted(os.listdir(path)), ["School", "View"])

    def test_no_name_leaves_the_directory(self) -> None:
        self.assertEqual(directory_of("Dog School"), "Dog School")
        self.assertEqual(directory_of(""), "default")
        for name in ("..", ".", "a/b", "/a", "a\\b"):
            self.assertEqual(len(Path(directory_of(name)).parts), 1)
            self.assertNotIn(directory_of(name), ("..", "."))

    def test_another_process_is_refused(self) -> None:
        path = directory(self)
        factory(self, path)
        program = (
            "from eventsourcing_annals import Factory\n"
            "from eventsourcing.utils import Environment\n"
            f"Factory(Environment(name='Test', env={{'ANNALS_PATH': {path!r}}}))"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        self.assertIn("OperationalError", ended.stderr)
        self.assertIn("in use", ended.stderr)

    def test_variables_that_are_missing_or_mean_nothing(self) -> None:
        with self.assertRaisesRegex(OSError, "ANNALS_PATH"):
            Factory(Environment(name="Test", env={}))
        env = {"ANNALS_PATH": directory(self), "ANNALS_DURABILITY": "maybe"}
        with self.assertRaisesRegex(OSError, "sync or buffered"):
            Factory(Environment(name="Test", env=env))


class TestErrors(TestCase):
    def test_conflicts_say_what_was_found(self) -> None:
        recorder = factory(self).application_recorder()
        recorder.insert_events([event("dog-1", 1)])
        with self.assertRaisesRegex(IntegrityError, "dog-1.*last version is 1"):
            recorder.insert_events([event("dog-1", 1)])

    def test_what_cannot_be_stored_is_refused_whole(self) -> None:
        recorder = factory(self).application_recorder()
        for wrong in (event("dog-1", -1), event("", 1), event("x" * 256, 1)):
            with self.assertRaises(DataError):
                recorder.insert_events([event("dog-2", 1), wrong])
        self.assertIsNone(recorder.max_notification_id())

    def test_a_file_in_place_of_the_log(self) -> None:
        path = Path(directory(self))
        (path / "Test").write_bytes(b"no log")
        with self.assertRaises(OSError):
            factory(self, str(path))


class TestReading(TestCase):
    def test_bounds(self) -> None:
        recorder = factory(self).application_recorder()
        recorder.insert_events([event("a", version) for version in (0, 1, 5, 9)])

        def versions(**select: object) -> list[int]:
            found = recorder.select_events("a", **select)  # type: ignore[arg-type]
            return [one.originator_version for one in found]

        self.assertEqual(versions(), [0, 1, 5, 9])
        self.assertEqual(versions(gt=-1), [0, 1, 5, 9])
        self.assertEqual(versions(gt=0, lte=5), [1, 5])
        self.assertEqual(versions(lte=-1), [])
        self.assertEqual(versions(gt=9, lte=3), [])
        self.assertEqual(versions(desc=True, limit=2), [9, 5])
        self.assertEqual(versions(limit=0), [])

        def ids(*args: object, **select: object) -> list[int]:
            found = recorder.select_notifications(*args, **select)  # type: ignore[arg-type]
            return [one.id for one in found]

        self.assertEqual(ids(None, 10, inclusive_of_start=False), [1, 2, 3, 4])
        self.assertEqual(ids(0, 10), [1, 2, 3, 4])
        self.assertEqual(ids(-5, 10), [1, 2, 3, 4])
        self.assertEqual(ids(2, 10, 3), [2, 3])
        self.assertEqual(ids(3, 10, 2), [])
        self.assertEqual(ids(1, 0), [])
        self.assertEqual(ids(1, 2, topics=["other"]), [])

    @skipIf(HAS_EVENT_IDS, "all ids are text")
    def test_a_uuid_is_not_the_text_that_spells_it(self) -> None:
        recorder = factory(self).application_recorder()
        dog = uuid5(NAMESPACE_URL, "dog")
        recorder.insert_events([event(dog, 1, b"uuid"), event(str(dog), 1, b"text")])
        self.assertEqual([one.state for one in recorder.select_events(dog)], [b"uuid"])
        found = recorder.select_notifications(1, 2)
        self.assertEqual([one.originator_id for one in found], [dog, str(dog)])
        self.assertEqual(hash(found[0].originator_id), hash(dog))

    @skipIf(not HAS_EVENT_IDS, "events have no ids and no metadata")
    def test_ids_and_metadata_come_back_and_repetitions_are_recognised(self) -> None:
        recorder = factory(self).application_recorder()
        dog, event_id = str(uuid4()), uuid4()
        stored = StoredEvent(  # type: ignore[call-arg]
            originator_id=dog,
            originator_version=1,
            topic="topic",
            state=b"state",
            uuid=event_id,
            metadata={"user": "ada", "empty": ""},
        )
        self.assertEqual(recorder.insert_events([stored]), [1])
        self.assertEqual(recorder.insert_events([stored]), [1])
        self.assertEqual(recorder.select_events(dog), [stored])
        self.assertEqual(recorder.max_notification_id(), 1)


class TestSnapshots(TestCase):
    def test_of_several_versions(self) -> None:
        made = factory(self)
        events, snapshots = (
            made.application_recorder(),
            made.aggregate_recorder(purpose="snapshots"),
        )
        events.insert_events([event("a", version) for version in range(1, 10)])
        for version in (9, 3, 6):
            snapshots.insert_events([event("a", version, b"%d" % version)])

        def states(**select: object) -> list[bytes]:
            found = snapshots.select_events("a", **select)  # type: ignore[arg-type]
            return [one.state for one in found]

        self.assertEqual(states(), [b"3", b"6", b"9"])
        self.assertEqual(states(limit=1), [b"3"])
        self.assertEqual(states(desc=True, limit=1), [b"9"])
        self.assertEqual(states(desc=True, lte=8, limit=1), [b"6"])
        self.assertEqual(states(gt=3, lte=8), [b"6"])
        self.assertEqual(states(lte=2), [])
        self.assertEqual(events.max_notification_id(), 9)


class TestWaiting(TestCase):
    def test_a_wait_is_woken_by_the_insert_itself(self) -> None:
        recorder = factory(self).tracking_recorder()
        reached: list[float] = []

        def wait() -> None:
            recorder.wait("upstream", 1, timeout=30)
            reached.append(monotonic())

        waiting = Thread(target=wait)
        waiting.start()
        sleep(0.3)
        recorder.insert_tracking(Tracking("upstream", 1))
        inserted = monotonic()
        waiting.join()
        self.assertLess(reached[0] - inserted, 0.15)

    def test_a_subscription_is_stopped_from_another_thread(self) -> None:
        subscription = factory(self).application_recorder().subscribe()
        Thread(target=lambda: (sleep(0.2), subscription.stop())).start()
        started = monotonic()
        self.assertEqual(list(subscription), [])
        self.assertLess(monotonic() - started, 5)

    def test_a_subscription_ends_with_its_factory(self) -> None:
        made = factory(self)
        subscription = made.application_recorder().subscribe()
        Thread(target=lambda: (sleep(0.2), made.close())).start()
        self.assertEqual(list(subscription), [])

    def test_other_threads_run_while_one_waits(self) -> None:
        recorder = factory(self).application_recorder()
        subscription, done = recorder.subscribe(), Event()
        following = Thread(target=lambda: (next(subscription), done.set()))
        following.start()
        recorder.insert_events([event("a", 1)])
        self.assertTrue(done.wait(10))
        following.join()
        subscription.stop()

    @skipIf(os.name == "nt", "signals of Unix")
    def test_ctrl_c_ends_a_subscription(self) -> None:
        program = (
            "from eventsourcing_annals import Factory\n"
            "from eventsourcing.utils import Environment\n"
            f"made = Factory(Environment(name='Test', env={{'ANNALS_PATH': {directory(self)!r}}}))\n"
            "print('following', flush=True)\n"
            "next(made.application_recorder().subscribe())\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
        self.assertIn("KeyboardInterrupt", complaint)

    @skipIf(os.name == "nt", "signals of Unix")
    def test_a_killed_interpreter_loses_nothing_acknowledged(self) -> None:
        path = directory(self)
        program = (
            "from tests.test_module import event\n"
            "from eventsourcing_annals import Factory\n"
            "from eventsourcing.utils import Environment\n"
            f"made = Factory(Environment(name='Test', env={{'ANNALS_PATH': {path!r}}}))\n"
            "recorder = made.application_recorder()\n"
            "version = 0\n"
            "while True:\n"
            "    version += 1\n"
            "    recorder.insert_events([event('a', version)])\n"
            "    print(version, flush=True)\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(50):
            acknowledged = int(process.stdout.readline())
        process.kill()
        rest = process.communicate(timeout=20)[0].split("\n")
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1])])
        found = factory(self, path).application_recorder().select_events("a")
        versions = [one.originator_version for one in found]
        self.assertEqual(versions, list(range(1, len(versions) + 1)))
        self.assertGreaterEqual(len(versions), acknowledged)


class TestView(TestCase):
    def test_rows_and_tracking_are_written_together_or_not_at_all(self) -> None:
        view = factory(self).tracking_recorder(AnnalsView)
        assert isinstance(view, AnnalsView)
        with view.transaction() as tx:
            tx.put("name", b"Fido")
            tx.put("tricks", b"")
            tx.track(Tracking("upstream", 1))
            self.assertEqual(tx.get("name"), b"Fido")
        self.assertEqual((view.get("name"), view.get("tricks")), (b"Fido", b""))

        with self.assertRaises(IntegrityError), view.transaction() as tx:
            tx.put("name", b"Rex")
            tx.track(Tracking("upstream", 1))
        with self.assertRaises(ZeroDivisionError), view.transaction() as tx:
            tx.put("name", b"Rex")
            tx.track(Tracking("upstream", 2))
            raise ZeroDivisionError
        self.assertEqual(view.get("name"), b"Fido")
        self.assertEqual(view.max_tracking_id("upstream"), 1)

        with view.transaction() as tx:
            tx.delete("name")
        self.assertIsNone(view.get("name"))
        self.assertIsNone(view.get("never"))

    def test_a_row_that_was_read_may_not_have_changed_since(self) -> None:
        view = factory(self).tracking_recorder(AnnalsView)
        assert isinstance(view, AnnalsView)
        with self.assertRaises(IntegrityError), view.transaction() as slow:
            slow.get("count")
            with view.transaction() as quick:
                quick.put("count", b"1")
            slow.put("count", b"2")
        self.assertEqual(view.get("count"), b"1")


class TestReadme(TestCase):
    @skipIf(HAS_EVENT_IDS, "written for 9.5")
    def test_its_program_runs_as_it_stands(self) -> None:
        readme = (Path(__file__).parents[1] / "README.md").read_text()
        program = readme.split("```python\n")[1].split("```")[0]
        env = {
            **os.environ,
            "PERSISTENCE_MODULE": "eventsourcing_annals",
            "ANNALS_PATH": directory(self),
        }
        subprocess.run([sys.executable, "-c", program], env=env, check=True)

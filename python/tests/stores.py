"""Empty stores for tests, in directories that remove themselves."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from unittest import TestCase

from eventsourcing.utils import Environment
from eventsourcing_annals import Factory


def directory(test: TestCase) -> str:
    """A directory that is gone after the test."""
    # Threads of the library may still hold what they have read: what is left of it goes with the process.
    temporary = TemporaryDirectory(ignore_cleanup_errors=True)
    test.addCleanup(temporary.cleanup)
    return temporary.name


def factory(test: TestCase, path: str | None = None, name: str = "Test") -> Factory:
    """A factory on a store of its own, closed after the test."""
    env = {"ANNALS_PATH": path or directory(test)}
    made = Factory(Environment(name=name, env=env))
    test.addCleanup(made.close)
    return made

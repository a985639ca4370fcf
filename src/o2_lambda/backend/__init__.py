"""A local backend that accepts, refuses, stores and searches telemetry as OpenObserve does.

It serves development and tests; nothing here replaces an OpenObserve server in production. It knows nothing of the
extension: it sees HTTP requests only.
"""

from __future__ import annotations

from o2_lambda.backend.config import BackendConfig
from o2_lambda.backend.faults import Fault, Faults, Reset
from o2_lambda.backend.journal import RequestRecord
from o2_lambda.backend.server import BackendError, BackendServer
from o2_lambda.backend.store import CountingStore, SearchError

__all__ = [
    "BackendConfig",
    "BackendError",
    "BackendServer",
    "CountingStore",
    "Fault",
    "Faults",
    "RequestRecord",
    "Reset",
    "SearchError",
]

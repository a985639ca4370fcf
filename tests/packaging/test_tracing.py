"""The full layer as it ships: a function with its wrapper and its extension, and nothing but what the zip holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from o2_lambda.backend import BackendServer
from o2_lambda.emulator import LambdaConfig, LocalLambda
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

HANDLER = """
def handler(event, context):
    print("hello")
    return {"ok": True}
"""


def test_a_function_is_traced_by_setting_the_wrapper_alone(layer: Path, tmp_path: Path) -> None:
    """Logs and a span of the invocation arrive, under one roof, without a line of code."""
    (tmp_path / "app.py").write_text(HANDLER)
    with BackendServer() as backend:
        config = LambdaConfig(
            [sys.executable, "-m", "awslambdaric"],
            handler="app.handler",
            task_root=tmp_path,
            extensions_dir=layer / "extensions",
            environment={
                "AWS_LAMBDA_EXEC_WRAPPER": str(layer / "otel-instrument"),
                "O2_ENDPOINT": backend.url,
                "O2_ORGANIZATION_ID": backend.config.organization,
                "O2_AUTHORIZATION_HEADER": backend.authorization_header,
                "O2_OTLP_PORT": str(free_port()),
            },
        )
        with LocalLambda(config) as function:
            result = function.invoke()
            function.shutdown()
        assert result.json() == {"ok": True}
        (span,) = backend.rows("traces", "default")
        assert span["operation_name"] == "my-function"
        assert span["faas_invocation_id"] == result.request_id
        lines = [row for row in backend.rows("logs", "default") if row["type"] == "function"]
        assert [row["requestid"] for row in lines if row["record"] == "hello\n"] == [result.request_id]

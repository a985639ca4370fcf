"""A faithful local AWS Lambda: init, invoke, freeze, shutdown, telemetry, and faults on request.

config = LambdaConfig([sys.executable, "-m", "awslambdaric"], handler="app.handler", task_root=folder,
extensions=[folder / "my-extension"])
async with Emulator(config) as emulator:
result = await emulator.invoke(b'{"k": 1}')
with LocalLambda(config) as function:
result = function.invoke(b'{"k": 1}')
"""

from o2_lambda.emulator.config import LambdaConfig
from o2_lambda.emulator.durable import Execution, execute
from o2_lambda.emulator.emulator import Emulator, InitResult
from o2_lambda.emulator.errors import ConfigError, EmulatorError
from o2_lambda.emulator.faults import ALWAYS, Faults, Kill
from o2_lambda.emulator.invocation import Invocation, InvokeResult, Response
from o2_lambda.emulator.local import LocalLambda
from o2_lambda.emulator.relay import Relay
from o2_lambda.emulator.teardown import ProcessEnd, ShutdownResult
from o2_lambda.emulator.timeline import Delivery, Fact, OutputLine

__all__ = [
    "ALWAYS",
    "ConfigError",
    "Delivery",
    "Emulator",
    "EmulatorError",
    "Execution",
    "Fact",
    "Faults",
    "InitResult",
    "Invocation",
    "InvokeResult",
    "Kill",
    "LambdaConfig",
    "LocalLambda",
    "OutputLine",
    "ProcessEnd",
    "Relay",
    "Response",
    "ShutdownResult",
    "execute",
]

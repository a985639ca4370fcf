"""o2-lambda: an AWS Lambda telemetry extension for OpenObserve, and the tools around it."""

__version__ = "0.1.0"

"""Real third-party parts: AWS's own emulator and runtime clients, another vendor's extension, OpenTelemetry SDKs."""

"""What the executable does for a person: `--help`, `--version`, `--health-check`."""

from __future__ import annotations

from sys import stderr, stdout

from o2_lambda import __version__
from o2_lambda.extension import config, settings
from o2_lambda.extension.boot import environment
from o2_lambda.extension.core.url import ConfigError

OK, FAILED, USAGE = 0, 1, 2  # exit status

USAGE_TEXT = """\
o2-lambda-extension: ships a Lambda function's logs, traces and metrics to OpenObserve.

Usage: o2-lambda-extension [option]
  (none)                 run as an extension; Lambda starts it so
  -h, --health-check     check settings, connection, credentials and ingestion, step by step
      --no-test-entry    with --health-check: send no test entry
      --help             this text
  -v, --version          the version

Exit status: 0 all is well, 1 a check failed, 2 a setting or an argument cannot be used.

Settings (environment variables):
"""


def run(arguments: list[str]) -> int:
    """Carries out the arguments (without the program's name); returns the exit status."""
    known = {"-h", "--health-check", "--no-test-entry", "--help", "-v", "--version"}
    for argument in arguments:
        if argument not in known:
            stderr.write(f"o2-lambda-extension: unknown option {argument!r}; --help lists them\n")
            return USAGE
    if "--help" in arguments:
        stdout.write(USAGE_TEXT + settings.settings_help())
        return OK
    if "-v" in arguments or "--version" in arguments:
        stdout.write(f"o2-lambda-extension {__version__}\n")
        return OK
    if arguments == ["--no-test-entry"]:
        stderr.write("o2-lambda-extension: --no-test-entry goes with --health-check\n")
        return USAGE
    try:
        loaded = config.load(environment())
    except ConfigError as error:
        stderr.write(f"Configuration error: {error}\n")
        return USAGE
    from o2_lambda.extension.health import check  # noqa: PLC0415 - needs the uplink, --help does not

    return OK if check(loaded, test_entry="--no-test-entry" not in arguments, out=stdout) else FAILED

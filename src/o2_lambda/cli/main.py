"""The `o2-lambda` command: each subcommand lives in a module of its own and is imported only when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from o2_lambda import __version__

# subcommand -> (module, attribute, one-line help shown by `o2-lambda --help`)
COMMANDS = {
    "attach": ("o2_lambda.cli.attach", "attach", "Add the layer to functions, or upgrade it."),
    "backend": ("o2_lambda.cli.backend", "backend", "Run the local OpenObserve-compatible backend."),
    "build": ("o2_lambda.cli.build", "build", "Build the layer zips."),
    "delete": ("o2_lambda.cli.layers", "delete", "Delete published versions of the layer."),
    "demo": ("o2_lambda.cli.demo", "demo", "See your own logs and traces: function, extension and backend, all local."),
    "deploy": ("o2_lambda.cli.deploy", "deploy", "Publish the layer to one or more regions."),
    "detach": ("o2_lambda.cli.attach", "detach", "Undo what attach did."),
    "list": ("o2_lambda.cli.layers", "list_", "List the published versions of the layer."),
    "local": ("o2_lambda.cli.local", "local", "Run a function under the local Lambda emulator."),
    "status": ("o2_lambda.cli.status", "status", "Show which functions have the layer, and which version."),
}


class LazyGroup(click.Group):
    """Lists every subcommand, imports only the one that runs, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, without importing anything."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Imports the command that runs."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _help = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Takes the help from the table, not from the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", prog_name="o2-lambda")
def main() -> None:
    """Telemetry for AWS Lambda, to OpenObserve."""

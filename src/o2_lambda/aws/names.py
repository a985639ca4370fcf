"""Names: layers, runtimes, and how an ARN reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from o2_lambda.aws.errors import AwsError
from o2_lambda.layer.names import ARCHITECTURES, FULL, JAVA, VARIANTS, suffix, zip_name

LAYER_PREFIX = "openobserve-extension-"
WRAPPER_VARIABLE = "AWS_LAMBDA_EXEC_WRAPPER"
WRAPPER = "/opt/otel-instrument"

# Every runtime that the extension serves, newest first within a family.
RUNTIMES = (
    *("python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python3.9"),
    *("nodejs24.x", "nodejs22.x", "nodejs20.x", "nodejs18.x"),
    *("java25", "java21", "java17", "java11"),
    "dotnet8",
    *("ruby3.4", "ruby3.3"),
    *("provided.al2023", "provided.al2"),
)
# A layer may name 15 at most (PublishLayerVersion, CompatibleRuntimes). The list only filters what the console offers:
# the layer runs on all of RUNTIMES, so the ones that AWS retires first give way.
RUNTIMES_PER_LAYER_MAX = 15
_RETIRED_FIRST = ("nodejs18.x", "python3.9", "nodejs20.x", "python3.10")
LISTED_RUNTIMES = tuple(name for name in RUNTIMES if name not in _RETIRED_FIRST)
JAVA_RUNTIMES = tuple(name for name in RUNTIMES if name.startswith("java"))

_LAYER_VERSION = re.compile(
    r"arn:(?P<partition>[a-z0-9-]+):lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):layer:(?P<name>[\w-]+):(?P<version>\d+)"
)
_FUNCTION = re.compile(
    r"(?P<arn>arn:[a-z0-9-]+:lambda:(?P<region>[a-z0-9-]+):\d{12}:function:[\w-]+)(?P<qualifier>:[\w$-]+)?"
)


@dataclass(frozen=True)
class Layer:
    """One of our layers: a variant of the zip, for an architecture."""

    architecture: str
    variant: str = FULL

    @property
    def name(self) -> str:
        """Its name in AWS."""
        return f"{LAYER_PREFIX}{suffix(self.architecture, self.variant)}"

    @property
    def zip_name(self) -> str:
        """The file that `o2-lambda build` makes for it."""
        return zip_name(self.architecture, self.variant)

    @property
    def options(self) -> str:
        """What chooses it on the command line of `build` and `deploy`."""
        return f"--arch {self.architecture}{'' if self.variant == FULL else f' --variant {self.variant}'}"

    @property
    def compatible_runtimes(self) -> tuple[str, ...]:
        """What the console offers it for."""
        return JAVA_RUNTIMES if self.variant == JAVA else LISTED_RUNTIMES


_OWN_LAYERS = {layer.name: layer for layer in (Layer(arch, variant) for variant in VARIANTS for arch in ARCHITECTURES)}


@dataclass(frozen=True)
class LayerArn:
    """The ARN of one version of one of our layers, read."""

    arn: str
    region: str
    account: str
    layer: Layer
    version: int


def tracing_variant(runtime: str) -> str:
    """The variant whose `otel-instrument` can trace the runtime."""
    return JAVA if runtime in JAVA_RUNTIMES else FULL


def has_tracer(runtime: str) -> bool:
    """Whether `otel-instrument` can trace it; it starts the others as they are, and custom ones never run it."""
    return runtime.startswith(("python", "nodejs")) or runtime in JAVA_RUNTIMES


def own_layer(arn: str) -> LayerArn | None:
    """The ARN read, if it is one of our layers, of whatever account; else None."""
    matched = _LAYER_VERSION.fullmatch(arn)
    if matched is None or matched["name"] not in _OWN_LAYERS:
        return None
    return LayerArn(arn, matched["region"], matched["account"], _OWN_LAYERS[matched["name"]], int(matched["version"]))


def split_function(name: str) -> tuple[str, str]:
    """(region or "", name or ARN) of a function given by either. Raises AwsError for a version, an alias, a typo.

    An ARN stays whole: its account may be another one, where a function of the same name is a different function.
    """
    matched = _FUNCTION.fullmatch(name)
    if matched is not None:
        if matched["qualifier"] not in (None, ":$LATEST"):
            raise AwsError(f"{name} is a version or an alias, which cannot be changed: give the function itself")
        return matched["region"], matched["arn"]
    if not re.fullmatch(r"[\w-]{1,64}", name):
        raise AwsError(f"{name!r} is neither a function's name nor its ARN")
    return "", name

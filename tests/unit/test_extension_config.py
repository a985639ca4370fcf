"""Settings: each valid form, and each invalid one with a line that names the setting."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from o2_lambda.extension import config, settings
from o2_lambda.extension.config import Config, load
from o2_lambda.extension.core.url import ConfigError, Url
from o2_lambda.extension.settings import BY_NAME, LOG_FIELDS, SETTINGS

REQUIRED = {"O2_ORGANIZATION_ID": "acme", "O2_AUTHORIZATION_HEADER": "Basic c2VjcmV0OnNlY3JldA=="}


def loaded(**environ: str) -> Config:
    return load({**REQUIRED, **environ})


def refused(**environ: str) -> str:
    """The one line of the error."""
    with pytest.raises(ConfigError) as caught:
        loaded(**environ)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


def test_defaults() -> None:
    """Two settings are enough."""
    each = loaded()
    assert str(each.endpoint) == "https://api.openobserve.ai"
    assert (each.organization_id, each.stream) == ("acme", "default")
    assert (each.flush_strategy, each.flush_budget_ms, each.flush_interval_ms) == ("auto", 1000, 5000)
    assert (each.max_buffer_size_mb, each.request_timeout_ms, each.max_retries) == (10, 30_000, 3)
    assert (each.initial_retry_delay_ms, each.max_retry_delay_ms) == (1000, 30_000)
    assert each.log_types == {"function", "platform", "extension", "failure"}
    assert each.log_fields == set(LOG_FIELDS)
    assert (each.log_level, each.otlp_port, each.telemetry_port) == ("INFO", 4318, 0)
    assert (each.proxy, each.ca_cert, each.strict, each.warnings) == (None, "", False, [])


def test_every_annotated_attribute_exists() -> None:
    """The class's annotations and the settings are the same list."""
    each = loaded()
    annotated = set(Config.__annotations__)
    assert annotated <= set(vars(each))
    assert {setting.name.removeprefix("O2_").lower() for setting in SETTINGS} <= annotated


def test_attributes_have_their_annotated_types() -> None:
    """A default is converted like a value."""
    each = loaded()
    hints = get_type_hints(Config, {"Url": Url, **vars(config)})
    for name, hint in hints.items():
        if isinstance(hint, type):
            assert isinstance(getattr(each, name), hint), name


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS if setting.required])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_required_settings(name: str, value: str | None) -> None:
    """Absent, empty and blank are the same, and the line says which one is missing."""
    environ = {**REQUIRED, name: value or ""}
    if value is None:
        del environ[name]
    with pytest.raises(ConfigError, match=f"^{name} environment variable is required"):
        load(environ)


INTEGERS = [setting for setting in SETTINGS if setting.kind == "integer"]


@pytest.mark.parametrize("setting", INTEGERS, ids=lambda setting: setting.name)
def test_integers_within_their_bounds(setting: settings.Setting) -> None:
    """Both bounds are allowed, white space around a number too."""
    for number in (setting.low, setting.high):
        each = loaded(**{setting.name: f" {number} "})
        assert getattr(each, setting.name.removeprefix("O2_").lower()) == number


@pytest.mark.parametrize("setting", INTEGERS, ids=lambda setting: setting.name)
def test_integers_that_are_none_or_out_of_bounds(setting: settings.Setting) -> None:
    """The line names the setting and what it takes."""
    for text in ("x", "1.5", "1e3", "0x10", "+1", "--1", "-", "1 000", "1_000", "²", "१"):
        assert refused(**{setting.name: text}).startswith(f"{setting.name} must be a whole number")
    for number in (setting.low - 1, setting.high + 1, 10**30):
        message = refused(**{setting.name: str(number)})
        assert message.startswith(f"{setting.name} must be from {setting.low} to {setting.high}")


@pytest.mark.parametrize("strategy", ["auto", "end", "continuous", "periodic", "END", "Periodic"])
def test_flush_strategies(strategy: str) -> None:
    """In any case."""
    assert loaded(O2_FLUSH_STRATEGY=strategy).flush_strategy == strategy.lower()


def test_unknown_choice_names_the_choices() -> None:
    """So that the next try is right."""
    message = refused(O2_FLUSH_STRATEGY="sometimes")
    assert message.startswith("O2_FLUSH_STRATEGY must be one of auto, end, continuous, periodic")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("1", True),
        ("YES", True),
        ("on", True),
        ("0", False),
        ("False", False),
        ("off", False),
        ("no", False),
        ("", False),
    ],
)
def test_booleans(text: str, value: bool) -> None:
    """The usual words."""
    assert loaded(O2_STRICT=text).strict is value


def test_no_boolean() -> None:
    """Anything else is refused, not read as false."""
    assert refused(O2_STRICT="maybe").startswith("O2_STRICT must be true or false")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("function", {"function"}),
        ("function,platform", {"function", "platform"}),
        (" extension , function ,", {"function", "extension"}),
        (",", set()),
    ],
)
def test_log_types(text: str, value: set[str]) -> None:
    """A list, with free white space."""
    assert loaded(O2_LOG_TYPES=text).log_types == value


@pytest.mark.parametrize(
    ("text", "value"), [("none", set()), ("message", {"message"}), ("level,env", {"level", "env"})]
)
def test_log_fields(text: str, value: set[str]) -> None:
    """`none` for none."""
    assert loaded(O2_LOG_FIELDS=text).log_fields == value


@pytest.mark.parametrize("name", ["O2_LOG_TYPES", "O2_LOG_FIELDS"])
def test_unknown_list_member_is_named(name: str) -> None:
    """With those that are known."""
    message = refused(**{name: "function,message,wrong"})
    assert message.startswith(f"{name} knows ")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("debug", "DEBUG"),
        ("INFO", "INFO"),
        ("notice", "NOTICE"),
        ("warning", "WARN"),
        ("Warn", "WARN"),
        ("error", "ERROR"),
        ("critical", "ERROR"),
        ("fatal", "ERROR"),
        ("trace", "DEBUG"),
        ("off", "ERROR"),
    ],
)
@pytest.mark.parametrize("name", ["O2_LOG_LEVEL", "LOG_LEVEL"])
def test_log_levels(name: str, text: str, level: str) -> None:
    """The words of every logging library, under both names."""
    assert loaded(**{name: text}).log_level == level


@pytest.mark.parametrize("text", ["verbose", "20", "all", "my-level", "é"])
def test_log_level_of_the_functions_own_vocabulary_is_ignored(text: str) -> None:
    """LOG_LEVEL belongs to the function; O2_LOG_LEVEL is ours and is checked."""
    assert loaded(LOG_LEVEL=text).log_level == "INFO"
    assert refused(O2_LOG_LEVEL=text).startswith("O2_LOG_LEVEL must be one of")


def test_own_name_wins_over_its_alias() -> None:
    """Where both are set."""
    assert loaded(LOG_LEVEL="debug", O2_LOG_LEVEL="error").log_level == "ERROR"
    assert loaded(OTEL_SERVICE_NAME="a", O2_SERVICE="b").service == "b"
    assert loaded(OTEL_SERVICE_NAME="a").service == "a"


@pytest.mark.parametrize("header", ["Basic abc", "Bearer x.y.z", "Basic  abc "])
def test_authorization_headers(header: str) -> None:
    """The whole value of the header."""
    assert loaded(O2_AUTHORIZATION_HEADER=header).authorization_header == header.strip()


SECRET = "hunter2secret"


@pytest.mark.parametrize(
    "header",
    [
        SECRET,
        f"basic {SECRET}",
        f"Token {SECRET}",
        "Basic",
        "Basic ",
        f"Basic{SECRET}",
        f"Basic {SECRET}\n x",
        f"Basic {SECRET}é",
    ],
)
def test_bad_authorization_header_is_never_shown(header: str) -> None:
    """The line tells the form, not the value."""
    message = refused(O2_AUTHORIZATION_HEADER=header)
    assert message.startswith("O2_AUTHORIZATION_HEADER")
    assert SECRET not in message


@pytest.mark.parametrize("name", ["O2_ORGANIZATION_ID", "O2_STREAM"])
@pytest.mark.parametrize("value", ["a/b", "a b", "a?b", "a#b", "a%2fb", "../x", "ä", "a\\b"])
def test_path_segments_are_checked(name: str, value: str) -> None:
    """They become part of a URL: nothing in them may change where it leads."""
    assert refused(**{name: value}).startswith(name)


@pytest.mark.parametrize("name", ["O2_ORGANIZATION_ID", "O2_STREAM"])
def test_segment_of_dots_is_no_name(name: str) -> None:
    """`..` would lead one level up."""
    assert refused(**{name: ".."}).startswith(name)


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS if setting.kind == "text"])
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\x7fb", "日本"])
def test_texts_for_headers_are_printable(name: str, value: str) -> None:
    """A newline in a header would be a header of its own."""
    assert refused(**{name: value}).startswith(name)


@pytest.mark.parametrize("name", ["O2_SERVICE", "O2_ENV"])
@pytest.mark.parametrize("value", ["café", "日本", "a b"])
def test_names_that_go_into_records_alone_may_be_any_text(name: str, value: str) -> None:
    """They are in no header and in no URL."""
    assert getattr(loaded(**{name: value}), name[3:].lower()) == value


@pytest.mark.parametrize("name", ["O2_SERVICE", "O2_ENV", "OTEL_SERVICE_NAME"])
@pytest.mark.parametrize("value", ["a\nb", "a\0b", "\ufffd"])
def test_names_that_are_no_text_are_refused_by_their_own_name(name: str, value: str) -> None:
    """Whoever reads the line looks for the variable that they have set, not for what it stands for."""
    assert refused(**{name: value}).startswith(f"{name} ")


def test_service_name_of_the_sdk_never_turns_telemetry_off_for_its_letters() -> None:
    """It was set for the SDK, which takes any text."""
    assert loaded(OTEL_SERVICE_NAME="café").service == "café"


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS if not setting.secret])
@pytest.mark.parametrize("form", ["Basic {0}", "bearer {0}", '"Basic {0}"', " Basic {0}"])
def test_credential_in_the_wrong_setting_is_never_shown(name: str, form: str) -> None:
    """Two values that were swapped in a template must not end up in CloudWatch."""
    try:
        said = str(loaded(**{name: form.format(SECRET)}).warnings)
    except ConfigError as error:
        said = str(error)
    assert SECRET not in said


def test_settings_table_lists_every_setting() -> None:
    """The README's table is generated."""
    table = settings.settings_table()
    for setting in SETTINGS:
        assert f"| `{setting.name}` |" in table
    assert len(table.splitlines()) == len(SETTINGS) + 2
    assert all(line.count("|") - line.count("\\|") == 4 for line in table.splitlines())


def test_settings_help_lists_every_setting() -> None:
    """So does --help, without markup."""
    text = settings.settings_help()
    assert [line.split()[0] for line in text.splitlines()] == list(BY_NAME)
    assert "`" not in text


def test_secrets_are_marked() -> None:
    """What must never be printed is known as such."""
    assert {setting.name for setting in SETTINGS if setting.secret} >= {"O2_AUTHORIZATION_HEADER", "O2_PROXY"}


def test_function_and_region_come_from_lambda() -> None:
    """They stand on every record."""
    each = loaded(AWS_LAMBDA_FUNCTION_NAME="f", AWS_REGION="eu-west-1")
    assert (each.function_name, each.region) == ("f", "eu-west-1")


def test_loading_twice_shares_nothing() -> None:
    """No state hides in the defaults."""
    first: Any = loaded(O2_ENDPOINT="http://a/api")
    second: Any = loaded()
    assert first.warnings
    assert not second.warnings
    assert second.otlp_headers is not first.otlp_headers

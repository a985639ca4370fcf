"""The pure parts: reading ARNs, the record, sizes, plans over arbitrary environments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o2_lambda.aws.errors import AwsError, explain
from o2_lambda.aws.limits import ENVIRONMENT_BYTES_MAX, check_environment, environment_bytes
from o2_lambda.aws.model import Function, is_secret, read_function
from o2_lambda.aws.names import own_layer, split_function
from o2_lambda.aws.plan import Wish, plan_attach, plan_detach
from o2_lambda.aws.record import Record, decode

LAYER = "arn:aws:lambda:eu-west-1:123456789012:layer:openobserve-extension-x86_64:"
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{1,12}", fullmatch=True).filter(lambda name: name != "O2_LAMBDA_ATTACHED")
VALUES = st.text(st.characters(codec="utf-8"), max_size=20)
OTHER_LAYERS = st.lists(st.sampled_from("abcd"), unique=True, max_size=3).map(
    lambda names: [f"arn:aws:lambda:eu-west-1:123456789012:layer:{name}:1" for name in names]
)


def function(layers: list[str] | tuple[str, ...] = (), variables: dict[str, str] | None = None) -> Function:
    return read_function(
        {
            "FunctionName": "orders",
            "FunctionArn": "arn:aws:lambda:eu-west-1:123456789012:function:orders",
            "Layers": [{"Arn": arn, "CodeSize": 1} for arn in layers],
            "Environment": {"Variables": variables or {}},
        }
    )


@given(st.dictionaries(NAMES, st.none() | VALUES, max_size=5), st.sampled_from([None, "", f"{LAYER}4"]))
def test_a_record_reads_back(variables: dict[str, str | None], layer: str | None) -> None:
    """Whatever a value holds, the record gives it back, in words of printable ASCII."""
    record = Record(variables, layer)
    text = record.encode()
    assert decode(text) == record
    assert text.isascii()
    assert text.isprintable()


@given(
    OTHER_LAYERS,
    st.dictionaries(NAMES, VALUES, max_size=5),
    st.lists(
        st.tuples(st.dictionaries(NAMES, VALUES, max_size=3), st.booleans(), st.integers(1, 9)), min_size=1, max_size=4
    ),
    st.data(),
)
def test_detach_undoes_any_number_of_attaches(
    layers: list[str], before: dict[str, str], wishes: list[tuple[dict[str, str], bool, int]], data: st.DataObject
) -> None:
    """Attach as often and with what you like: one detach brings back every layer, in order, and every variable."""
    shared = data.draw(st.dictionaries(st.sampled_from(sorted(before) or ["A1"]), VALUES, max_size=2))
    current = function(layers, before)
    for variables, tracing, version in wishes:
        wish = Wish(f"{LAYER}{version}", 0, {**variables, **shared}, tracing=tracing, force=True)
        plan = plan_attach(current, wish)
        assert [arn for arn in plan.layers if own_layer(arn) is None] == layers
        assert set(before) <= set(plan.variables)
        current = function(plan.layers, plan.variables)
    undone = plan_detach(current)
    assert list(undone.layers) == layers
    assert undone.variables == before


def test_environment_is_measured_as_lambda_does() -> None:
    """Exactly 4096 bytes of JSON pass, one more does not; what JSON escapes counts twice, UTF-8 by its bytes."""
    assert environment_bytes({}) == 2
    assert environment_bytes({"A": '"'}) == len('{"A":"\\""}')
    assert environment_bytes({"A": "ü"}) == len('{"A":"x"}') + 1
    room = ENVIRONMENT_BYTES_MAX - environment_bytes({"A": ""})
    check_environment({"A": "x" * room})
    with pytest.raises(AwsError, match="4097 bytes, 1 more"):
        check_environment({"A": "x" * (room + 1)})


@pytest.mark.parametrize(
    ("arn", "found"),
    [
        (f"{LAYER}12", ("x86_64", 12)),
        ("arn:aws-cn:lambda:cn-north-1:210987654321:layer:openobserve-extension-arm64:1", ("arm64", 1)),
        ("arn:aws:lambda:eu-west-1:123456789012:layer:openobserve-extension-arm64", None),
        ("arn:aws:lambda:eu-west-1:123456789012:layer:openobserve-extension-arm64-mine:1", None),
        ("arn:aws:lambda:eu-west-1:123456789012:layer:my-openobserve-extension-arm64:1", None),
    ],
)
def test_our_layers_are_told_from_others(arn: str, found: tuple[str, int] | None) -> None:
    """The whole name decides, of whatever account and partition."""
    layer = own_layer(arn)
    assert (layer and (layer.layer.architecture, layer.version)) == found


def test_functions_by_name_and_arn() -> None:
    """Names stay names, ARNs stay ARNs and bring their region, everything else is refused."""
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:f"
    assert split_function("my-fn_1") == ("", "my-fn_1")
    assert split_function(arn) == split_function(f"{arn}:$LATEST") == ("eu-west-1", arn)
    for wrong in ("arn:aws:lambda:eu-west-1:123456789012:function:f:7", "a b", "", "x" * 65, "arn:aws:s3:::b"):
        with pytest.raises(AwsError):
            split_function(wrong)


def test_what_counts_as_a_secret() -> None:
    """Names that smell of credentials are masked, others are not."""
    secret = (
        "O2_AUTHORIZATION_HEADER",
        "O2_PROXY",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "DB_PASSWORD",
        "stripe_key",
        "O2_LAMBDA_ATTACHED",
    )
    assert all(map(is_secret, secret))
    assert not any(map(is_secret, ("O2_STREAM", "AWS_LAMBDA_EXEC_WRAPPER", "O2_ENDPOINT")))


def test_the_same_layer_twice_is_the_users_to_resolve() -> None:
    """Two versions of ours, as of two accounts: neither is dropped by guessing."""
    twice = [f"{LAYER}1", f"{LAYER}2".replace("123456789012", "210987654321")]
    with pytest.raises(AwsError, match="has this layer twice"):
        plan_attach(function(twice), Wish(f"{LAYER}3"))


def test_a_layer_put_there_twice_comes_back_once() -> None:
    """Someone added ours a second time after it was upgraded: AWS would refuse an ARN that is listed twice."""
    other = "arn:aws:lambda:eu-west-1:123456789012:layer:mine:1"
    record = {"O2_LAMBDA_ATTACHED": Record({}, f"{LAYER}1").encode()}
    twice = [f"{LAYER}3", other, f"{LAYER}2".replace("123456789012", "210987654321")]
    assert plan_detach(function(twice, record)).layers == (f"{LAYER}1", other)


def test_an_explanation_is_one_line() -> None:
    """Line breaks go, secrets go, also one that contains another."""
    assert explain(AwsError("a\nb  long-secret and long-secret-too"), ["long-secret", "long-secret-too"]) == (
        "a b *** and ***"
    )

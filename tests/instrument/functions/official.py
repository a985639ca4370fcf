"""The function of `stores` under OpenTelemetry's own SDK and instrumentation, as its layer sets them up."""

from importlib import import_module

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

INSTRUMENTED = (
    ("aiohttp_client", "AioHttpClientInstrumentor"),
    ("botocore", "BotocoreInstrumentor"),
    ("httpx", "HTTPXClientInstrumentor"),
    ("psycopg", "PsycopgInstrumentor"),
    ("psycopg2", "Psycopg2Instrumentor"),
    ("pymongo", "PymongoInstrumentor"),
    ("pymysql", "PyMySQLInstrumentor"),
    ("redis", "RedisInstrumentor"),
    ("requests", "RequestsInstrumentor"),
    ("sqlalchemy", "SQLAlchemyInstrumentor"),
    ("urllib", "URLLibInstrumentor"),
)

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
for module, name in INSTRUMENTED:
    getattr(import_module(f"opentelemetry.instrumentation.{module}"), name)().instrument()
AwsLambdaInstrumentor().instrument()  # wraps what ORIG_HANDLER names


def handler(event, context):
    import stores

    return stores.handler(event, context)

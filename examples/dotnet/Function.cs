// A function that OpenTelemetry's own instrumentation traces; its spans go to the extension at localhost:4318.
using Amazon.Lambda.Core;
using Amazon.Lambda.RuntimeSupport;
using Amazon.Lambda.Serialization.SystemTextJson;
using OpenTelemetry;
using OpenTelemetry.Instrumentation.AWSLambda;
using OpenTelemetry.Trace;

// Lambda says "not sampled" in X-Ray's words whenever X-Ray is off, which would suppress every span.
var tracing = Sdk.CreateTracerProviderBuilder()
    .AddAWSLambdaConfigurations(options => options.DisableAwsXRayContextExtraction = true)
    .AddOtlpExporter()
    .Build();

static string Handle(Dictionary<string, object> order, ILambdaContext context)
{
    Console.WriteLine("hello");
    return "ok";
}

string Traced(Dictionary<string, object> order, ILambdaContext context) =>
    AWSLambdaWrapper.Trace(tracing, Handle, order, context); // flushes when the handler is done

await LambdaBootstrapBuilder.Create<Dictionary<string, object>, string>(Traced, new DefaultLambdaJsonSerializer())
    .Build()
    .RunAsync();

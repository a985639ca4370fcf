// A function for provided.al2023 with an OpenTelemetry SDK of its own, which sends to the extension.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func handle(ctx context.Context, event map[string]any) (string, error) {
	_, span := otel.Tracer("example").Start(ctx, "work")
	defer span.End()
	fmt.Println("hello")
	return "ok", nil
}

// traced gives each invocation a span, and sends it on before Lambda freezes the process.
func traced(provider *sdktrace.TracerProvider) func(context.Context, map[string]any) (string, error) {
	return func(ctx context.Context, event map[string]any) (string, error) {
		defer provider.ForceFlush(ctx)
		id := ""
		if found, ok := lambdacontext.FromContext(ctx); ok {
			id = found.AwsRequestID
		}
		ctx, span := otel.Tracer("example").Start(ctx, lambdacontext.FunctionName,
			trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("faas.invocation_id", id)))
		defer span.End()
		return handle(ctx, event)
	}
}

func main() {
	exporter, err := otlptracehttp.New(context.Background()) // to OTEL_EXPORTER_OTLP_ENDPOINT
	if err != nil {
		log.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	otel.SetTracerProvider(provider)
	lambda.Start(traced(provider))
}

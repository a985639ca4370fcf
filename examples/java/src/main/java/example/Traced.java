package example;

import com.amazonaws.services.lambda.runtime.Context;
import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Scope;
import io.opentelemetry.instrumentation.awslambdacore.v1_0.TracingRequestHandler;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import java.time.Duration;
import java.util.Map;

/** A function with an OpenTelemetry SDK of its own, which sends to the extension at localhost:4318. */
public class Traced extends TracingRequestHandler<Map<String, Object>, String> {
  /** The extension is near and answers at once; it is the first export's own code that takes its time. */
  private static final Duration FLUSH_TIMEOUT = Duration.ofSeconds(5);

  private final Tracer tracer;

  public Traced() {
    super(AutoConfiguredOpenTelemetrySdk.initialize().getOpenTelemetrySdk(), FLUSH_TIMEOUT);
    tracer = GlobalOpenTelemetry.getTracer("example"); // of this SDK, or of the agent where there is one
  }

  @Override
  protected String doHandleRequest(Map<String, Object> event, Context context) {
    Span span = tracer.spanBuilder("work").startSpan();
    try (Scope ignored = span.makeCurrent()) {
      System.out.println("hello");
    } finally {
      span.end();
    }
    return "ok";
  }
}

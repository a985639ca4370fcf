package o2.tracing;

import io.opentelemetry.javaagent.shaded.io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.javaagent.shaded.io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.javaagent.shaded.io.opentelemetry.context.Context;
import io.opentelemetry.sdk.trace.ReadWriteSpan;
import io.opentelemetry.sdk.trace.ReadableSpan;
import io.opentelemetry.sdk.trace.SpanProcessor;

/** Tells the extension which trace an invocation belongs to, so that its log lines carry the ids. */
final class Announcer implements SpanProcessor {
  private static final AttributeKey<String> REQUEST_ID = AttributeKey.stringKey("faas.invocation_id");

  private final Connection extension;

  Announcer(Connection extension) {
    this.extension = extension;
  }

  @Override
  public void onStart(Context parent, ReadWriteSpan span) {
    String requestId = span.getAttribute(REQUEST_ID); // on the handler's span alone
    SpanContext ids = span.getSpanContext();
    if (requestId != null && ids.isSampled()) {
      extension.send(requestId + ' ' + ids.getTraceId() + ' ' + ids.getSpanId());
    }
  }

  @Override
  public boolean isStartRequired() {
    return true;
  }

  @Override
  public void onEnd(ReadableSpan span) {
    // The spans themselves go through the agent's own processor.
  }

  @Override
  public boolean isEndRequired() {
    return false;
  }
}

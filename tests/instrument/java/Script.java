package o2.tracing;

import io.opentelemetry.exporter.internal.FailedExportException;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.common.export.HttpResponse;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.io.InterruptedIOException;
import java.lang.reflect.Proxy;
import java.net.ConnectException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * Drives our exporter in place of the agent: each argument is a step.
 *
 * <p>`+N` exports N spans, `end` shuts down, and a line tells how many spans were handed to the agent's exporter then,
 * in each batch. Anything else is what the agent's exporter makes of batches from here on: `ok`, `refused`, `timeout`,
 * an HTTP status, `hang`, which lasts until the next of these, or `late`: taken once our exporter has stopped waiting,
 * and the line tells whether it has waited.
 */
public final class Script implements SpanExporter {
  private static final long WAIT_NANOS = TimeUnit.MILLISECONDS.toNanos(240); // of 250

  private final List<String> batches = new ArrayList<>();
  private final List<CompletableResultCode> hanging = new ArrayList<>();
  private String answer;

  public static void main(String[] steps) {
    Script agent = new Script();
    agent.answer = steps[0];
    agent.play(new PatientExporter(agent), Arrays.copyOfRange(steps, 1, steps.length));
  }

  private void play(SpanExporter exporter, String[] steps) {
    System.out.println(String.join(" ", batches));
    batches.clear();
    for (String step : steps) {
      if (step.equals("end")) {
        exporter.shutdown();
      } else if (step.startsWith("+")) {
        long began = System.nanoTime();
        exporter.export(Collections.nCopies(Integer.parseInt(step.substring(1)), proxy(SpanData.class, null)));
        if (answer.equals("late")) {
          answerAll(CompletableResultCode::succeed);
          batches.add(System.nanoTime() - began < WAIT_NANOS ? "" : "waited");
        }
      } else {
        answers(step);
        continue;
      }
      System.out.println(String.join(" ", batches));
      batches.clear();
    }
  }

  /** An object of which every method answers the same. */
  private static <T> T proxy(Class<T> type, Object answer) {
    Class<?>[] types = {type};
    return type.cast(Proxy.newProxyInstance(type.getClassLoader(), types, (proxy, method, values) -> answer));
  }

  private void answers(String next) {
    answer = next;
    answerAll(this::complete);
  }

  private void answerAll(Consumer<CompletableResultCode> with) {
    hanging.forEach(with);
    hanging.clear();
  }

  @Override
  public CompletableResultCode export(Collection<SpanData> spans) {
    batches.add(String.valueOf(spans.size()));
    CompletableResultCode result = new CompletableResultCode();
    if (answer.equals("hang") || answer.equals("late")) {
      hanging.add(result);
      return result;
    }
    return complete(result);
  }

  private CompletableResultCode complete(CompletableResultCode result) {
    switch (answer) {
      case "ok":
        return result.succeed();
      case "refused":
        return result.failExceptionally(FailedExportException.httpFailedExceptionally(new ConnectException()));
      case "timeout":
        return result.failExceptionally(FailedExportException.httpFailedExceptionally(new InterruptedIOException()));
      default:
        HttpResponse refusal = proxy(HttpResponse.class, Integer.parseInt(answer));
        return result.failExceptionally(FailedExportException.httpFailedWithResponse(refusal));
    }
  }

  @Override
  public CompletableResultCode flush() {
    return CompletableResultCode.ofSuccess();
  }

  @Override
  public CompletableResultCode shutdown() {
    return CompletableResultCode.ofSuccess();
  }
}

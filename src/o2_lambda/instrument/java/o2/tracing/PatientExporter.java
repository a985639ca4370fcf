package o2.tracing;

import io.opentelemetry.exporter.internal.FailedExportException.HttpExportException;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.common.export.HttpResponse;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.net.ConnectException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Hands spans to the agent's own exporter, and waits for its answer only while answers come.
 *
 * <p>The end of an invocation waits for the export, so that the spans leave before the sandbox is frozen. After a wait
 * in vain the next exports are not waited for: one, then 2, 4 … of them. After a failure they are not even tried, while
 * the spans stay in a bounded queue; the attempt that follows is a small one. What the receiver has not taken is sent
 * again. What may have been taken, since no answer came, is not: it counts as dropped.
 */
final class PatientExporter implements SpanExporter {
  private static final int QUEUE_SPANS_MAX = 2048; // the SDKs' default
  private static final int BATCH_SPANS_MAX = 512; // the SDKs' default
  private static final int PROBE_SPANS_MAX = 32; // of the attempt that may fail again
  private static final int ANSWER_LIMIT_MS = 250; // the receiver answers from memory, or the machine is starved
  private static final int SKIP_EXPONENT_MAX = 8;
  private static final int TOO_MANY_REQUESTS = 429;
  private static final int SERVER_ERROR = 500;

  private final SpanExporter exporter;
  private final Deque<SpanData> queue = new ArrayDeque<>();
  private List<SpanData> sent = Collections.emptyList(); // what the answer under way is for
  private CompletableResultCode answer; // null where none is under way
  private int waitsInVain; // in a row
  private int unwaited; // exports that are not waited for
  private int failures; // in a row
  private int skip; // exports that are not tried
  private int dropped;

  /** An export of nothing loads what an export takes while the function starts, which Lambda gives a whole CPU. */
  PatientExporter(SpanExporter exporter) {
    this.exporter = exporter;
    send(0);
  }

  @Override
  public synchronized CompletableResultCode export(Collection<SpanData> spans) {
    queue.addAll(spans);
    long deadlineNanos = deadlineNanos();
    settle();
    if (answer != null && failures == 0 && unwaited == 0) { // nobody has waited for it
      await(deadlineNanos);
      settle();
    }
    if (skip > 0) {
      skip--;
    } else {
      sendAll(deadlineNanos);
    }
    drop(queue.size() - QUEUE_SPANS_MAX);
    return CompletableResultCode.ofSuccess();
  }

  @Override
  public CompletableResultCode flush() {
    return exporter.flush();
  }

  /** Tries once more to get rid of what is left. */
  @Override
  public synchronized CompletableResultCode shutdown() {
    long deadlineNanos = deadlineNanos();
    if (answer != null) {
      await(deadlineNanos);
      settle();
    }
    skip = 0;
    failures = 0;
    unwaited = 0;
    sendAll(deadlineNanos);
    dropped += sent.size();
    drop(queue.size());
    tellDropped();
    return exporter.shutdown();
  }

  /** Until when one call may wait, its encoding included. */
  private static long deadlineNanos() {
    return System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(ANSWER_LIMIT_MS);
  }

  private void sendAll(long deadlineNanos) {
    while (answer == null && skip == 0 && !queue.isEmpty()) {
      send(failures == 0 ? BATCH_SPANS_MAX : PROBE_SPANS_MAX);
      if (unwaited > 0) {
        unwaited--;
      } else if (failures == 0) {
        await(deadlineNanos);
      }
      settle();
    }
  }

  private void send(int count) {
    sent = new ArrayList<>();
    while (sent.size() < count && !queue.isEmpty()) {
      sent.add(queue.removeFirst());
    }
    answer = exporter.export(sent);
  }

  private void await(long deadlineNanos) {
    answer.join(deadlineNanos - System.nanoTime(), TimeUnit.NANOSECONDS);
    waitsInVain = answer.isDone() ? 0 : waitsInVain + 1;
    unwaited = exponential(waitsInVain);
  }

  /** Takes in the answer, if it has come. */
  private void settle() {
    if (answer == null || !answer.isDone()) {
      return;
    }
    if (answer.isSuccess()) {
      failures = 0;
      tellDropped();
    } else {
      fail(answer.getFailureThrowable());
    }
    answer = null;
    sent = Collections.emptyList();
  }

  private void fail(Throwable reason) {
    HttpResponse refusal = reason instanceof HttpExportException ? ((HttpExportException) reason).getResponse() : null;
    int status = refusal == null ? 0 : refusal.getStatusCode();
    boolean isFull = status == TOO_MANY_REQUESTS || status >= SERVER_ERROR;
    if (isFull || reason != null && reason.getCause() instanceof ConnectException) {
      for (int at = sent.size() - 1; at >= 0; at--) {
        queue.addFirst(sent.get(at));
      }
    } else {
      dropped += sent.size();
    }
    if (isFull || status == 0) { // any other is about these spans alone
      failures++;
      skip = exponential(failures);
    }
  }

  private void drop(int count) {
    for (int each = 0; each < count; each++) {
      queue.removeLast();
      dropped++;
    }
  }

  private void tellDropped() {
    if (dropped > 0) {
      System.err.println("o2-lambda: " + dropped + " spans were dropped: the receiver did not take them");
      dropped = 0;
    }
  }

  /** 0, 1, 2, 4 … */
  private static int exponential(int count) {
    return count == 0 ? 0 : 1 << Math.min(count - 1, SKIP_EXPONENT_MAX);
  }
}

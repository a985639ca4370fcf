package o2.tracing;

import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.sdk.autoconfigure.spi.AutoConfigurationCustomizer;
import io.opentelemetry.sdk.autoconfigure.spi.AutoConfigurationCustomizerProvider;
import io.opentelemetry.sdk.autoconfigure.spi.ConfigProperties;
import io.opentelemetry.sdk.trace.SdkTracerProviderBuilder;
import io.opentelemetry.sdk.trace.export.SpanExporter;

/** What the agent loads: its exporter becomes patient, and where that is our extension's, invocations are announced. */
public final class Extension implements AutoConfigurationCustomizerProvider {
  @Override
  public void customize(AutoConfigurationCustomizer agent) {
    agent.addTracerProviderCustomizer(Extension::announce);
    agent.addSpanExporterCustomizer(Extension::patient);
  }

  private static SdkTracerProviderBuilder announce(SdkTracerProviderBuilder tracing, ConfigProperties settings) {
    int port = Receiver.port(settings, System.getenv("O2_OTLP_PORT"));
    return port == Receiver.NONE ? tracing : tracing.addSpanProcessor(new Announcer(new Connection(port)));
  }

  private static SpanExporter patient(SpanExporter exporter, ConfigProperties settings) {
    return exporter instanceof OtlpHttpSpanExporter ? new PatientExporter(exporter) : exporter;
  }
}

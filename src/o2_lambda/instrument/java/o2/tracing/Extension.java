package o2.tracing;

import io.opentelemetry.sdk.autoconfigure.spi.AutoConfigurationCustomizer;
import io.opentelemetry.sdk.autoconfigure.spi.AutoConfigurationCustomizerProvider;
import io.opentelemetry.sdk.autoconfigure.spi.ConfigProperties;
import io.opentelemetry.sdk.trace.SdkTracerProviderBuilder;

/** What the agent loads: where its spans go to our extension, that one is told of each invocation's beginning. */
public final class Extension implements AutoConfigurationCustomizerProvider {
  @Override
  public void customize(AutoConfigurationCustomizer agent) {
    agent.addTracerProviderCustomizer(Extension::announce);
  }

  private static SdkTracerProviderBuilder announce(SdkTracerProviderBuilder tracing, ConfigProperties settings) {
    int port = Receiver.port(settings, System.getenv("O2_OTLP_PORT"));
    return port == Receiver.NONE ? tracing : tracing.addSpanProcessor(new Announcer(new Connection(port)));
  }
}

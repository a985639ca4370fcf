package o2.tracing;

import io.opentelemetry.sdk.autoconfigure.spi.ConfigProperties;
import java.net.URI;
import java.util.Arrays;
import java.util.List;

/** Where our extension takes spans, and whether the agent sends them there. */
final class Receiver {
  static final int NONE = 0;
  private static final int DEFAULT_PORT = 4318;
  private static final String PATH = "/v1/traces";
  private static final List<String> LOCAL_NAMES = Arrays.asList("localhost", "127.0.0.1", "0.0.0.0");

  private Receiver() {}

  /** The receiver's port; NONE where spans go elsewhere, as to a collector of the user's own. */
  static int port(ConfigProperties settings, String extensionsPort) {
    String traces = settings.getString("otel.exporter.otlp.traces.endpoint");
    String all = settings.getString("otel.exporter.otlp.endpoint", "");
    try {
      int port = extensionsPort == null ? DEFAULT_PORT : Integer.parseInt(extensionsPort.trim());
      URI address = URI.create(traces == null ? all.replaceFirst("/*$", PATH) : traces);
      boolean isExtension = "http".equals(address.getScheme())
          && LOCAL_NAMES.contains(address.getHost())
          && address.getPort() == port
          && PATH.equals(address.getPath());
      return isExtension ? port : NONE;
    } catch (IllegalArgumentException notAnAddress) {
      return NONE;
    }
  }
}

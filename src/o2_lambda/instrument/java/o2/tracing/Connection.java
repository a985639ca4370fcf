package o2.tracing;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.US_ASCII;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;

/**
 * A keep-alive connection to the extension on which nothing is ever waited for.
 *
 * <p>What cannot be sent at once is not sent, errors are silent, and answers are read before the next message. A
 * receiver that answers with anything but 200 does not understand: it is told nothing more.
 */
final class Connection {
  private static final byte[] LOOPBACK = {127, 0, 0, 1};
  private static final String HEAD =
      "POST /v1/invocation HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: ";
  private static final String HEAD_END = "\r\n\r\n";
  private static final String OK = "HTTP/1.1 200 ";
  private static final int UNANSWERED_MAX = 8;
  private static final int ANSWERS_LENGTH_MAX = 4096; // of those that are not read to their end; one is some 50

  private final int port;
  private SocketChannel channel;
  private String answers = "";
  private int unanswered;
  private boolean understood = true;

  /** Connects ahead, so that the first message finds the connection made. */
  Connection(int port) {
    this.port = port;
    try {
      isConnected();
    } catch (IOException notYet) {
      disconnect();
    }
  }

  /** Sends a message of ASCII characters, or does not. */
  synchronized void send(String message) {
    readAnswers();
    if (!understood || unanswered >= UNANSWERED_MAX) {
      return;
    }
    try {
      if (isConnected()) {
        ByteBuffer request = ByteBuffer.wrap((HEAD + message.length() + HEAD_END + message).getBytes(US_ASCII));
        channel.write(request);
        unanswered++;
        if (request.hasRemaining()) {
          disconnect();
        }
      }
    } catch (IOException lost) {
      disconnect();
    }
  }

  /** Whether there is a connection; sets out for one where there is none. */
  private boolean isConnected() throws IOException {
    if (channel == null) {
      channel = SocketChannel.open();
      channel.configureBlocking(false);
      channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      channel.connect(new InetSocketAddress(InetAddress.getByAddress(LOOPBACK), port));
    }
    return channel.finishConnect();
  }

  private void readAnswers() {
    if (channel == null || !channel.isConnected()) {
      return;
    }
    ByteBuffer received = ByteBuffer.allocate(ANSWERS_LENGTH_MAX);
    try {
      int length = channel.read(received);
      answers += new String(received.array(), 0, received.position(), ISO_8859_1);
      parseAnswers();
      if (length < 0 || !understood) {
        disconnect();
      }
    } catch (IOException lost) {
      disconnect();
    }
  }

  private void parseAnswers() {
    for (int end; (end = answers.indexOf(HEAD_END)) >= 0; answers = answers.substring(end + HEAD_END.length())) {
      understood &= answers.startsWith(OK);
      unanswered--;
    }
    understood &= answers.length() <= ANSWERS_LENGTH_MAX;
  }

  private void disconnect() {
    try {
      if (channel != null) {
        channel.close();
      }
    } catch (IOException alreadyGone) {
      // Nothing is left to be closed.
    }
    channel = null;
    answers = "";
    unanswered = 0;
  }
}

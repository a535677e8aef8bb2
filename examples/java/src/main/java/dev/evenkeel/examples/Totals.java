package dev.evenkeel.examples;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** What the client has seen, counted twice: since the last report, and since the start or a reset. */
final class Totals {
  private static final int MAX_ERRORS_PER_SECOND = 20;
  private static final int MAX_MESSAGE = 300;

  private static final class Stretch {
    final long since = System.nanoTime();
    long started;
    long ok;
    long dropped;
    long late;
    final Map<String, Long> replies = new TreeMap<>();
    final Map<String, Long> errors = new TreeMap<>();
  }

  private final Map<String, String> firstReplies = new TreeMap<>();
  private Stretch window = new Stretch();
  private Stretch total = new Stretch();
  private long inFlight;
  private long second;
  private int errors;

  private void count(Consumer<Stretch> change) {
    change.accept(window);
    change.accept(total);
  }

  synchronized long inFlight() {
    return inFlight;
  }

  synchronized void started() {
    inFlight++;
    count(stretch -> stretch.started++);
  }

  synchronized void dropped() {
    count(stretch -> stretch.dropped++);
  }

  synchronized void late(long calls) {
    count(stretch -> stretch.late += calls);
  }

  /** Whether it is the first reply ever from this pod. */
  synchronized boolean replied(String pod) {
    inFlight--;
    count(
        stretch -> {
          stretch.ok++;
          stretch.replies.merge(pod, 1L, Long::sum);
        });
    return firstReplies.putIfAbsent(pod, Instant.now().toString()) == null;
  }

  /** An outage at a high rate must not fill the node's log; the sums are complete. */
  synchronized void failed(String code, long afterMs, String message) {
    inFlight--;
    count(stretch -> stretch.errors.merge(code, 1L, Long::sum));
    long now = Instant.now().getEpochSecond();
    if (now != second) {
      second = now;
      errors = 0;
    }
    if (++errors > MAX_ERRORS_PER_SECOND) {
      return;
    }
    String text = message == null ? "" : message;
    String shown = text.length() > MAX_MESSAGE ? text.substring(0, MAX_MESSAGE) + "…" : text;
    Lines.write("error", Map.of("code", code, "after_ms", afterMs, "message", shown));
  }

  synchronized Map<String, Object> window() {
    var report = report(window);
    window = new Stretch();
    return report;
  }

  /** With a reset, sums begin anew in the same instant. */
  synchronized Map<String, Object> total(boolean reset) {
    var report = report(total);
    report.put("first_replies", new TreeMap<>(firstReplies));
    if (reset) {
      total = new Stretch();
    }
    return report;
  }

  private Map<String, Object> report(Stretch stretch) {
    var report = new LinkedHashMap<String, Object>();
    report.put("since_ms", (System.nanoTime() - stretch.since) / 1_000_000);
    report.put("started", stretch.started);
    report.put("ok", stretch.ok);
    report.put("replies", new TreeMap<>(stretch.replies));
    report.put("errors", new TreeMap<>(stretch.errors));
    report.put("dropped", stretch.dropped);
    report.put("late", stretch.late);
    report.put("in_flight", inFlight);
    return report;
  }

  /** GET /totals, POST /reset and GET /healthz, on an address such as :8090. */
  void serve(String address) throws IOException {
    int colon = address.lastIndexOf(':');
    int port = Integer.parseInt(address.substring(colon + 1));
    var at = colon == 0 ? new InetSocketAddress(port) : new InetSocketAddress(address.substring(0, colon), port);
    HttpServer server = HttpServer.create(at, 0);
    answer(server, "GET", "/totals", () -> total(false));
    answer(server, "POST", "/reset", () -> total(true));
    answer(server, "GET", "/healthz", LinkedHashMap::new);
    server.start();
  }

  private static void answer(
      HttpServer server, String method, String path, Supplier<Map<String, Object>> report) {
    server.createContext(
        path,
        exchange -> {
          try (exchange) {
            if (!exchange.getRequestMethod().equals(method)) {
              exchange.sendResponseHeaders(405, -1);
              return;
            }
            var fields = report.get();
            fields.put("t", Instant.now().toString());
            byte[] body = Lines.GSON.toJson(fields).getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
          }
        });
  }
}

package dev.evenkeel.examples;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Pattern;

/** Flags of the form --name=value. */
final class Flags {
  private static final Pattern PART = Pattern.compile("([0-9.]+)(ms|h|m|s)");
  private static final Map<String, Double> UNITS = Map.of("h", 3.6e6, "m", 6e4, "s", 1e3, "ms", 1.0);
  private static final Map<String, String> USUAL =
      Map.ofEntries(
          Map.entry("target", ""), // such as dns:///echo-headless.default.svc.cluster.local:8080
          Map.entry("policy", "round_robin"),
          Map.entry("rate", "50"), // calls started per second
          Map.entry("max-in-flight", "1000"),
          Map.entry("deadline", "2s"), // of each call; 0s is none
          Map.entry("duration", "0s"), // 0s is until SIGTERM
          Map.entry("connections", "1"), // independent channels, used in turn
          Map.entry("report-every", "1s"),
          Map.entry("retry", "false"), // try a call that ends UNAVAILABLE again
          Map.entry("http", "")); // address of GET /totals, POST /reset and GET /healthz, such as :8090

  private final Map<String, String> values = new HashMap<>(USUAL);

  Flags(String[] arguments) {
    for (String argument : arguments) {
      String[] parts = argument.split("=", 2);
      String name = parts[0].replaceFirst("^--", "");
      if (!USUAL.containsKey(name)) {
        throw new IllegalArgumentException(argument + ": there is no such flag");
      }
      values.put(name, parts.length == 2 ? parts[1] : "true");
    }
    if (text("target").isEmpty()) {
      throw new IllegalArgumentException("--target is required");
    }
  }

  String text(String name) {
    return values.get(name);
  }

  double number(String name) {
    return Double.parseDouble(text(name));
  }

  boolean is(String name) {
    return Boolean.parseBoolean(text(name));
  }

  /** A duration such as 2s, 100ms or 1m30s. */
  Duration time(String name) {
    var parts = PART.matcher(text(name));
    double milliseconds = 0;
    int end = 0;
    while (parts.find() && parts.start() == end) {
      milliseconds += Double.parseDouble(parts.group(1)) * UNITS.get(parts.group(2));
      end = parts.end();
    }
    if (end == 0 || end != text(name).length()) {
      throw new IllegalArgumentException("--" + name + ": " + text(name) + " is not a duration such as 2s or 100ms");
    }
    return Duration.ofMillis(Math.round(milliseconds));
  }
}

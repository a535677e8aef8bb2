package dev.evenkeel.examples;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;

/** JSON lines on standard output. */
final class Lines {
  static final Gson GSON = new GsonBuilder().disableHtmlEscaping().create();

  private Lines() {}

  static void write(String event, Map<String, ?> fields) {
    var line = new LinkedHashMap<String, Object>();
    line.put("t", Instant.now().toString());
    line.put("event", event);
    line.putAll(fields);
    synchronized (Lines.class) {
      System.out.println(GSON.toJson(line));
    }
  }
}

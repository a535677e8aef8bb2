package dev.evenkeel.examples;

import dev.evenkeel.echo.v1.EchoGrpc;
import dev.evenkeel.echo.v1.EchoReply;
import dev.evenkeel.echo.v1.EchoRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

/** Calls Echo at a steady rate, balanced over all pods, and says on standard output who answered. */
public final class Client {
  /** How long calls may go on once no more are started. */
  private static final Duration END_BOUND = Duration.ofSeconds(2);

  private static final Map<String, ?> RETRY =
      Map.of(
          "name", List.of(Map.of()),
          "retryPolicy",
              Map.of(
                  "maxAttempts", 5.0,
                  "initialBackoff", "0.1s",
                  "maxBackoff", "1s",
                  "backoffMultiplier", 2.0,
                  "retryableStatusCodes", List.of("UNAVAILABLE")));

  private final Flags flags;
  private final long deadline;
  private final double maxInFlight;
  private final Totals totals = new Totals();
  private final List<EchoGrpc.EchoStub> stubs;
  private final long begin = System.nanoTime();
  private long started;

  private Client(Flags flags) {
    this.flags = flags;
    deadline = flags.time("deadline").toMillis();
    maxInFlight = flags.number("max-in-flight");
    stubs = IntStream.range(0, (int) flags.number("connections")).mapToObj(n -> EchoGrpc.newStub(channel())).toList();
  }

  /** Without round_robin all calls of a channel would go to one pod. */
  private ManagedChannel channel() {
    var builder =
        Grpc.newChannelBuilder(flags.text("target"), InsecureChannelCredentials.create())
            .defaultLoadBalancingPolicy(flags.text("policy"))
            .disableServiceConfigLookUp()
            .proxyDetector(address -> null);
    if (flags.is("retry")) {
      builder.defaultServiceConfig(Map.of("methodConfig", List.of(RETRY)));
    }
    return builder.build();
  }

  public static void main(String[] arguments) throws Exception {
    var client = new Client(new Flags(arguments));
    client.run();
  }

  private void run() throws Exception {
    if (!flags.text("http").isEmpty()) {
      totals.serve(flags.text("http"));
    }
    double rate = flags.number("rate");
    Lines.write(
        "start",
        Map.of(
            "target", flags.text("target"),
            "policy", flags.text("policy"),
            "method", "echo",
            "rate", rate,
            "connections", stubs.size()));
    var clock = Executors.newScheduledThreadPool(2);
    long every = Math.max((long) (1e9 / rate), 5_000_000);
    clock.scheduleAtFixedRate(
        () -> {
          try {
            pace(rate);
          } catch (RuntimeException failed) {
            // The clock would end without a word.
            failed.printStackTrace();
            Runtime.getRuntime().halt(1);
          }
        },
        every,
        every,
        TimeUnit.NANOSECONDS);
    long report = flags.time("report-every").toMillis();
    clock.scheduleAtFixedRate(
        () -> Lines.write("report", totals.window()), report, report, TimeUnit.MILLISECONDS);

    var ended = new CountDownLatch(1);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  clock.shutdownNow();
                  finish();
                  ended.countDown();
                }));
    Duration duration = flags.time("duration");
    if (duration.isZero()) {
      ended.await();
    } else {
      Thread.sleep(duration.toMillis());
      System.exit(0);
    }
  }

  /** By the clock, not by the end of earlier calls: waiting would hide an outage from its own figures. */
  private void pace(double rate) {
    long due = (long) ((System.nanoTime() - begin) / 1e9 * rate);
    // What a stopped process missed is not made up for, but for a second's worth.
    long late = due - started - (long) rate - 1;
    if (late > 0) {
      totals.late(late);
      started += late;
    }
    for (; started < due; started++) {
      start((int) (started % stubs.size()));
    }
  }

  private void start(int channel) {
    if (totals.inFlight() >= maxInFlight) {
      totals.dropped();
      return;
    }
    totals.started();
    long begun = System.nanoTime();
    var stub = stubs.get(channel);
    var timed = deadline == 0 ? stub : stub.withDeadlineAfter(deadline, TimeUnit.MILLISECONDS);
    timed.echo(EchoRequest.newBuilder().setMessage("echo").build(), new Answer(begun));
  }

  private final class Answer implements StreamObserver<EchoReply> {
    private final long begun;

    Answer(long begun) {
      this.begun = begun;
    }

    @Override
    public void onNext(EchoReply reply) {
      if (totals.replied(reply.getPod())) {
        Lines.write(
            "first_reply",
            Map.of(
                "backend", reply.getPod(),
                "version", reply.getVersion(),
                "connection_age", reply.getConnectionAge()));
      }
    }

    @Override
    public void onError(Throwable error) {
      var status = Status.fromThrowable(error);
      long after = (System.nanoTime() - begun) / 1_000_000;
      totals.failed(status.getCode().name(), after, status.getDescription());
    }

    @Override
    public void onCompleted() {}
  }

  /** Calls that last longer are given up, and stay in in_flight. */
  private void finish() {
    long end = System.nanoTime() + END_BOUND.toNanos();
    try {
      while (totals.inFlight() > 0 && System.nanoTime() < end) {
        Thread.sleep(10);
      }
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
    Lines.write("end", totals.total(false));
  }
}

package dev.evenkeel.examples;

import dev.evenkeel.echo.v1.EchoGrpc;
import dev.evenkeel.echo.v1.EchoReply;
import dev.evenkeel.echo.v1.EchoRequest;
import dev.evenkeel.echo.v1.WatchRequest;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import io.prometheus.metrics.exporter.httpserver.HTTPServer;
import java.net.InetAddress;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** An Echo server whose connections have an age, and whose metrics say how many RPCs it served. */
public final class Server {
  /** After SIGTERM: serve on while endpoints and DNS forget this pod, then let calls finish. */
  private static final long DRAIN_SECONDS = 5;

  private static final long FINISH_SECONDS = 20;

  private Server() {}

  public static void main(String[] arguments) throws Exception {
    long age = seconds("MAX_CONNECTION_AGE_SECONDS");
    long grace = seconds("MAX_CONNECTION_AGE_GRACE_SECONDS");
    String pod = environment("POD_NAME", InetAddress.getLocalHost().getHostName());
    String version = environment("VERSION", "");
    String shownAge = age > 0 ? age + "s" : "none";

    var builder = NettyServerBuilder.forPort(Integer.parseInt(environment("PORT", "8080")));
    // gRPC spreads the age by a tenth, and without a grace lets calls go on for ever.
    if (age > 0) {
      builder.maxConnectionAge(age, TimeUnit.SECONDS);
    }
    if (grace > 0) {
      builder.maxConnectionAgeGrace(grace, TimeUnit.SECONDS);
    }
    var health = new HealthStatusManager();
    var server =
        builder
            .intercept(new CountRpcs())
            .addService(new Echo(pod, version, shownAge))
            .addService(health.getHealthService())
            .build()
            .start();
    HTTPServer.builder().port(Integer.parseInt(environment("METRICS_PORT", "9090"))).buildAndStart();
    Lines.write("start", Map.of("pod", pod, "version", version, "max_connection_age", shownAge));

    var stopped = new CountDownLatch(1);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> drain(server, health, stopped)));
    stopped.await();
  }

  private static void drain(io.grpc.Server server, HealthStatusManager health, CountDownLatch stopped) {
    Lines.write("draining", Map.of());
    health.enterTerminalState();
    try {
      TimeUnit.SECONDS.sleep(DRAIN_SECONDS);
      if (!server.shutdown().awaitTermination(FINISH_SECONDS, TimeUnit.SECONDS)) {
        server.shutdownNow();
      }
    } catch (InterruptedException interrupted) {
      server.shutdownNow();
    }
    Lines.write("stopped", Map.of());
    stopped.countDown();
  }

  private static String environment(String variable, String otherwise) {
    String value = System.getenv(variable);
    return value == null || value.isEmpty() ? otherwise : value;
  }

  /** A whole number from the environment; absent, empty and zero are none. */
  private static long seconds(String variable) {
    String value = environment(variable, "0");
    if (!value.matches("\\d{1,9}")) {
      System.err.println(variable + ": " + value + " is not a whole number of seconds");
      System.exit(1);
    }
    return Long.parseLong(value);
  }

  /** Answers with who it is. */
  private static final class Echo extends EchoGrpc.EchoImplBase {
    private final EchoReply self;
    private final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor();

    Echo(String pod, String version, String age) {
      self = EchoReply.newBuilder().setPod(pod).setVersion(version).setConnectionAge(age).build();
    }

    private EchoReply reply(String message) {
      return self.toBuilder().setMessage(message).build();
    }

    @Override
    public void echo(EchoRequest request, StreamObserver<EchoReply> replies) {
      replies.onNext(reply(request.getMessage()));
      replies.onCompleted();
    }

    @Override
    public void watch(WatchRequest request, StreamObserver<EchoReply> replies) {
      watch(request, 1, (ServerCallStreamObserver<EchoReply>) replies);
    }

    private void watch(WatchRequest request, int number, ServerCallStreamObserver<EchoReply> replies) {
      if (replies.isCancelled()) {
        return;
      }
      replies.onNext(reply(request.getMessage()));
      if (number == request.getCount()) {
        replies.onCompleted();
        return;
      }
      long interval = request.getIntervalMs() == 0 ? 1000 : request.getIntervalMs();
      clock.schedule(() -> watch(request, number + 1, replies), interval, TimeUnit.MILLISECONDS);
    }

    @Override
    public StreamObserver<EchoRequest> chat(StreamObserver<EchoReply> replies) {
      return new StreamObserver<>() {
        @Override
        public void onNext(EchoRequest request) {
          replies.onNext(reply(request.getMessage()));
        }

        @Override
        public void onError(Throwable error) {
          replies.onError(Status.fromThrowable(error).asRuntimeException());
        }

        @Override
        public void onCompleted() {
          replies.onCompleted();
        }
      };
    }
  }
}

package dev.evenkeel.examples;

import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.prometheus.metrics.core.metrics.Counter;

/** Counts RPCs under the names that go-grpc-prometheus made usual. Only methods that exist get here. */
final class CountRpcs implements ServerInterceptor {
  private final Counter started =
      Counter.builder()
          .name("grpc_server_started")
          .help("RPCs begun on the server")
          .labelNames("grpc_type", "grpc_service", "grpc_method")
          .register();
  private final Counter handled =
      Counter.builder()
          .name("grpc_server_handled")
          .help("RPCs ended on the server")
          .labelNames("grpc_type", "grpc_service", "grpc_method", "grpc_code")
          .register();

  @Override
  public <Q, R> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
    var method = call.getMethodDescriptor();
    String type = type(method.getType());
    String service = method.getServiceName();
    String name = method.getBareMethodName();
    started.labelValues(type, service, name).inc();
    // A call that its client gives up is closed, too, once its handler notices; most never do more than reply.
    var counted =
        new SimpleForwardingServerCall<Q, R>(call) {
          @Override
          public void close(Status status, Metadata trailers) {
            handled.labelValues(type, service, name, name(status.getCode())).inc();
            super.close(status, trailers);
          }
        };
    return next.startCall(counted, headers);
  }

  private static String type(MethodDescriptor.MethodType type) {
    return switch (type) {
      case UNARY -> "unary";
      case CLIENT_STREAMING -> "client_stream";
      case SERVER_STREAMING -> "server_stream";
      default -> "bidi_stream";
    };
  }

  /** As in Go: OK, DeadlineExceeded. */
  private static String name(Status.Code code) {
    if (code == Status.Code.OK) {
      return "OK";
    }
    var name = new StringBuilder();
    for (String word : code.name().split("_")) {
      name.append(word.charAt(0)).append(word.substring(1).toLowerCase());
    }
    return name.toString();
  }
}

package client

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"evenkeel.dev/tests/cluster/workloads/proto/echopb"
)

// call makes one RPC of the method and hands on every reply.
func call(ctx context.Context, c Config, conn *grpc.ClientConn, reply func(*echopb.EchoReply)) error {
	stub := echopb.NewEchoClient(conn)
	switch c.Method {
	case "health":
		return health(ctx, conn, reply)
	case "watch":
		return watch(ctx, c, stub, reply)
	case "chat":
		return chat(ctx, c, stub, reply)
	default:
		r, err := stub.Echo(ctx, &echopb.EchoRequest{Message: "echo"})
		if err == nil {
			reply(r)
		}
		return err
	}
}

// health asks what nearly every gRPC server answers. Of who did, only the address is known.
func health(ctx context.Context, conn *grpc.ClientConn, reply func(*echopb.EchoReply)) error {
	var from peer.Peer
	_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&from))
	if err == nil {
		reply(&echopb.EchoReply{Pod: from.Addr.String()})
	}
	return err
}

func watch(ctx context.Context, c Config, stub echopb.EchoClient, reply func(*echopb.EchoReply)) error {
	stream, err := stub.Watch(ctx, &echopb.WatchRequest{
		Message:    "watch",
		Count:      uint32(c.StreamMessages),
		IntervalMs: uint32(c.StreamInterval.Milliseconds()),
	})
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reply(r)
	}
}

// chat sends, awaits the reply, waits, and so on.
func chat(ctx context.Context, c Config, stub echopb.EchoClient, reply func(*echopb.EchoReply)) error {
	stream, err := stub.Chat(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(c.StreamInterval)
	defer tick.Stop()
	for sent := uint(1); ; sent++ {
		// Why a stream has ended is said by Recv, not by Send.
		if err := stream.Send(&echopb.EchoRequest{Message: "chat"}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		reply(r)
		if sent == c.StreamMessages {
			break
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			_, err := stream.Recv()
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	_, err = stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

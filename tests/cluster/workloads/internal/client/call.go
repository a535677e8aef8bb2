package client

import (
	"context"
	"errors"
	"io"
	"time"

	"evenkeel.dev/tests/cluster/workloads/proto/echopb"
)

// call makes one RPC of the method and hands on every reply.
func call(ctx context.Context, c Config, stub echopb.EchoClient, reply func(*echopb.EchoReply)) error {
	switch c.Method {
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

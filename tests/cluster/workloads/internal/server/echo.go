package server

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"evenkeel.dev/tests/cluster/workloads/proto/echopb"
)

// echo answers every request with who it is.
type echo struct {
	echopb.UnimplementedEchoServer
	pod, version, age string
}

func (e *echo) reply(message string) *echopb.EchoReply {
	return &echopb.EchoReply{Message: message, Pod: e.pod, Version: e.version, ConnectionAge: e.age}
}

func (e *echo) Echo(_ context.Context, r *echopb.EchoRequest) (*echopb.EchoReply, error) {
	return e.reply(r.GetMessage()), nil
}

func (e *echo) Watch(r *echopb.WatchRequest, stream grpc.ServerStreamingServer[echopb.EchoReply]) error {
	interval := time.Duration(r.GetIntervalMs()) * time.Millisecond
	if interval == 0 {
		interval = time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for sent := uint32(1); ; sent++ {
		if err := stream.Send(e.reply(r.GetMessage())); err != nil {
			return err
		}
		if sent == r.GetCount() {
			return nil
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (e *echo) Chat(stream grpc.BidiStreamingServer[echopb.EchoRequest, echopb.EchoReply]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(e.reply(r.GetMessage())); err != nil {
			return err
		}
	}
}

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"

	"evenkeel.dev/examples/go/echopb"
)

// echo answers with who it is.
type echo struct {
	echopb.UnimplementedEchoServer
	pod, version, age string
}

func newEcho(age time.Duration) *echo {
	host, _ := os.Hostname()
	e := &echo{pod: env("POD_NAME", host), version: os.Getenv("VERSION"), age: "none"}
	if age > 0 {
		e.age = age.String()
	}
	return e
}

func (e *echo) reply(message string) *echopb.EchoReply {
	return &echopb.EchoReply{Message: message, Pod: e.pod, Version: e.version, ConnectionAge: e.age}
}

// Echo is one reply for one request.
func (e *echo) Echo(_ context.Context, request *echopb.EchoRequest) (*echopb.EchoReply, error) {
	return e.reply(request.GetMessage()), nil
}

// Watch replies at an interval.
func (e *echo) Watch(request *echopb.WatchRequest, stream grpc.ServerStreamingServer[echopb.EchoReply]) error {
	interval := time.Duration(request.GetIntervalMs()) * time.Millisecond
	if interval == 0 {
		interval = time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for sent := uint32(1); ; sent++ {
		if err := stream.Send(e.reply(request.GetMessage())); err != nil {
			return err
		}
		if sent == request.GetCount() {
			return nil
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// Chat replies to each request.
func (e *echo) Chat(stream grpc.BidiStreamingServer[echopb.EchoRequest, echopb.EchoReply]) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(e.reply(request.GetMessage())); err != nil {
			return err
		}
	}
}

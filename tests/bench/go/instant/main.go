// instant takes the place of an MLServer, and answers at once: what a
// measurement through the mesh then shows is the mesh.
//
// It is started as MLServer is (`mlserver start DIRECTORY`, MLSERVER_HOST,
// MLSERVER_GRPC_PORT) and has the part of its interface that an adapter and a
// client use: a model is loaded from its files, unloaded, listed, asked. It
// predicts nothing. The answer to ModelInfer has the model's name, as
// model_version a digest of the file that was loaded, and one number.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"wmlserving/bench/v2"
)

type method func(models *repository, request []byte) ([]byte, error)

// The constant part of every answer: one INT64 tensor of shape [1, 1].
var outputs = func() []byte {
	tensor := v2.AppendText(nil, 1, "predict")
	tensor = v2.AppendText(tensor, 2, "INT64")
	tensor = v2.AppendMessage(tensor, 3, []byte{1, 1})
	tensor = v2.AppendMessage(tensor, 5, v2.AppendMessage(nil, 3, []byte{8}))
	return v2.AppendMessage(nil, 5, tensor)
}()

// MLServer's words and codes.
func unknown(code codes.Code, name string) error {
	return status.Errorf(code, "Model %s not found", name)
}

func infer(models *repository, request []byte) ([]byte, error) {
	name := v2.Text(request, 1)
	token, there := models.token(name)
	if !there {
		return nil, unknown(codes.InvalidArgument, name)
	}
	answer := make([]byte, 0, len(name)+len(token)+len(outputs)+8)
	answer = v2.AppendText(answer, 1, name)
	answer = v2.AppendText(answer, 2, token)
	return append(answer, outputs...), nil
}

func modelReady(models *repository, request []byte) ([]byte, error) {
	name := v2.Text(request, 1)
	if _, there := models.token(name); !there {
		return nil, unknown(codes.InvalidArgument, name)
	}
	return v2.AppendTrue(nil, 1), nil
}

func load(models *repository, request []byte) ([]byte, error) {
	name := v2.Text(request, 2)
	if err := models.load(name); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "Model %s: %v", name, err)
	}
	return nil, nil
}

func unload(models *repository, request []byte) ([]byte, error) {
	name := v2.Text(request, 2)
	if !models.unload(name) {
		return nil, unknown(codes.NotFound, name)
	}
	return nil, nil
}

func index(models *repository, _ []byte) ([]byte, error) {
	var answer []byte
	for _, name := range models.names() {
		entry := v2.AppendText(nil, 1, name)
		entry = v2.AppendText(entry, 3, "READY")
		answer = v2.AppendMessage(answer, 1, entry)
	}
	return answer, nil
}

func yes(*repository, []byte) ([]byte, error) { return v2.AppendTrue(nil, 1), nil }

func unary(name string, answer method) grpc.MethodDesc {
	handler := func(server any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		models, ok := server.(*repository)
		if !ok {
			return nil, status.Errorf(codes.Internal, "served by %T", server)
		}
		var request []byte
		if err := decode(&request); err != nil {
			return nil, err
		}
		result, err := answer(models, request)
		if err != nil {
			return nil, err
		}
		return &result, nil
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

var service = grpc.ServiceDesc{
	ServiceName: v2.Service,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		unary("ServerLive", yes),
		unary("ServerReady", yes),
		unary("ModelReady", modelReady),
		unary("ModelInfer", infer),
		unary("RepositoryIndex", index),
		unary("RepositoryModelLoad", load),
		unary("RepositoryModelUnload", unload),
	},
}

func main() {
	if len(os.Args) != 3 || os.Args[1] != "start" {
		log.Fatalf("usage: %s start DIRECTORY", os.Args[0])
	}
	address := fmt.Sprintf("%s:%s", os.Getenv("MLSERVER_HOST"), os.Getenv("MLSERVER_GRPC_PORT"))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(v2.Codec{}), grpc.MaxConcurrentStreams(1<<20))
	server.RegisterService(&service, &repository{root: os.Args[2]})
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		server.Stop()
	}()
	log.Printf("instant: serves %s at %s", os.Args[2], listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

// A device plugin for fake cards under the name of the real resource: a container that asks for one gets the fake driver's
// library, a scenario of exactly its cards, and the variable with which the real plugin names them.
package main

import (
	"context"
	"log"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"testbed/devices/cards"
)

const (
	resourceName = "nvidia.com/gpu"
	socket       = "nvidia-gpu.sock"
)

type plugin struct {
	api.UnimplementedDevicePluginServer
	node cards.Node
}

func main() {
	plugin := plugin{node: cards.Parse()}
	_ = os.Remove(api.DevicePluginPath + socket)
	listener := cards.Must(net.Listen("unix", api.DevicePluginPath+socket))
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, &plugin)
	go register()
	log.Fatal(server.Serve(listener))
}

// The kubelet calls back while it is being told, so the socket is open by then.
func register() {
	kubelet := cards.Must(grpc.NewClient("unix://"+api.KubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials())))
	request := api.RegisterRequest{Version: api.Version, Endpoint: socket, ResourceName: resourceName}
	cards.Must(api.NewRegistrationClient(kubelet).Register(context.Background(), &request, grpc.WaitForReady(true)))
	log.Printf("Registered %s", resourceName)
}

func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

func (p *plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	var all api.ListAndWatchResponse
	for _, uuid := range p.node.UUIDs {
		all.Devices = append(all.Devices, &api.Device{ID: uuid, Health: api.Healthy})
	}
	if err := stream.Send(&all); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	var answer api.AllocateResponse
	for _, container := range request.ContainerRequests {
		uuids := strings.Join(container.DevicesIds, ",")
		given, err := p.node.Give(uuids, container.DevicesIds)
		if err != nil {
			return nil, err
		}
		log.Printf("Allocated %s", uuids)
		response := api.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": uuids, given.Variable: given.Value},
		}
		for at, from := range given.Mounts {
			response.Mounts = append(response.Mounts, &api.Mount{HostPath: from, ContainerPath: at, ReadOnly: true})
		}
		answer.ContainerResponses = append(answer.ContainerResponses, &response)
	}
	return &answer, nil
}

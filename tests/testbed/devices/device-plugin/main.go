// A device plugin for fake GPUs, with the name of the real resource. A container that requests a GPU gets the fake driver's
// library, a scenario with exactly its GPUs, and the variable in which the real plugin lists their UUIDs.
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

// register runs after the socket is open, because the kubelet calls the plugin during the registration.
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
		edits, err := p.node.Allocate(uuids, container.DevicesIds)
		if err != nil {
			return nil, err
		}
		log.Printf("Allocated %s", uuids)
		response := api.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": uuids, edits.Variable: edits.Value},
		}
		for at, from := range edits.Mounts {
			response.Mounts = append(response.Mounts, &api.Mount{HostPath: from, ContainerPath: at, ReadOnly: true})
		}
		answer.ContainerResponses = append(answer.ContainerResponses, &response)
	}
	return &answer, nil
}

// A device plugin for fake GPUs, with the names of the real resources. A container that requests a GPU gets the fake driver's
// library, a scenario with exactly its GPUs, and the variable in which the real plugin lists their UUIDs. With several replicas
// the plugin offers each GPU several times, under the IDs of the real plugin's time-slicing.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"testbed/devices/cards"
)

const replicaSeparator = "::"

type plugin struct {
	api.UnimplementedDevicePluginServer
	node     cards.Node
	replicas int
}

func main() {
	resource := flag.String("resource", "", "the resource's name")
	replicas := flag.Int("replicas", 1, "how often each GPU is offered")
	node := cards.Parse()
	plugin := plugin{node: node, replicas: *replicas}
	socket := strings.ReplaceAll(*resource, "/", "-") + ".sock"
	_ = os.Remove(api.DevicePluginPath + socket)
	listener := cards.Must(net.Listen("unix", api.DevicePluginPath+socket))
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, &plugin)
	go register(*resource, socket)
	log.Fatal(server.Serve(listener))
}

// register runs after the socket is open, because the kubelet calls the plugin during the registration.
func register(resource, socket string) {
	kubelet := cards.Must(grpc.NewClient("unix://"+api.KubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials())))
	request := api.RegisterRequest{Version: api.Version, Endpoint: socket, ResourceName: resource}
	cards.Must(api.NewRegistrationClient(kubelet).Register(context.Background(), &request, grpc.WaitForReady(true)))
	log.Printf("Registered %s", resource)
}

func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

func (p *plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	var all api.ListAndWatchResponse
	for _, uuid := range p.node.UUIDs {
		for _, id := range p.ids(uuid) {
			all.Devices = append(all.Devices, &api.Device{ID: id, Health: api.Healthy})
		}
	}
	if err := stream.Send(&all); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// ids returns the IDs under which the plugin offers a GPU.
func (p *plugin) ids(uuid string) (ids []string) {
	if p.replicas == 1 {
		return []string{uuid}
	}
	for replica := range p.replicas {
		ids = append(ids, fmt.Sprint(uuid, replicaSeparator, replica))
	}
	return ids
}

func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	var answer api.AllocateResponse
	for _, container := range request.ContainerRequests {
		var gpus []string
		for _, id := range container.DevicesIds {
			uuid, _, _ := strings.Cut(id, replicaSeparator)
			gpus = append(gpus, uuid)
		}
		uuids := strings.Join(gpus, ",")
		edits, err := p.node.Allocate(uuids, gpus)
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

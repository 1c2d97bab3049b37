// A DRA driver for fake GPUs, with the name of the real driver. It publishes the GPUs, and a claim's containers get the fake
// driver's library, a scenario with exactly the claim's GPUs, and the metadata files of KEP-5304.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"

	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/dynamic-resource-allocation/api/metadata/v1alpha1"
	"k8s.io/dynamic-resource-allocation/api/metadata/v1beta1"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	cdi "tags.cncf.io/container-device-interface/specs-go"

	"testbed/devices/cards"
)

const (
	driverName = "gpu.nvidia.com"
	cdiKind    = driverName + "/claim"
)

type driver struct {
	node cards.Node
	cdi  string
	// The published GPUs and their UUIDs, by the device names in allocations.
	devices map[string]resource.Device
	uuids   map[string]string
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "the node's kubeconfig")
	nodeName := flag.String("node", "", "the node's name")
	cdiFolder := flag.String("cdi", "", "the folder in which the container runtime looks for CDI specifications")
	node := cards.Parse()
	driver := driver{node: node, cdi: *cdiFolder, devices: map[string]resource.Device{}, uuids: map[string]string{}}
	var published []resource.Device
	for number, uuid := range node.UUIDs {
		device := describe(fmt.Sprintf("gpu-%d", number), uuid, cards.Must(node.Name(uuid)))
		published = append(published, device)
		driver.devices[device.Name], driver.uuids[device.Name] = device, uuid
	}

	data := filepath.Join(kubeletplugin.KubeletPluginsDir, driverName)
	for _, folder := range []string{data, kubeletplugin.KubeletRegistryDir, *cdiFolder} {
		cards.Check(os.MkdirAll(folder, 0o755))
	}
	client := kubernetes.NewForConfigOrDie(cards.Must(clientcmd.BuildConfigFromFlags("", *kubeconfig)))
	ctx := context.Background()
	helper := cards.Must(kubeletplugin.Start(ctx, &driver,
		kubeletplugin.DriverName(driverName),
		kubeletplugin.NodeName(*nodeName),
		kubeletplugin.KubeClient(client),
		kubeletplugin.HealthService(false),
		kubeletplugin.CDIDirectory(*cdiFolder),
		// The file has one object per version, one after the other. A reader uses the first version that it supports.
		kubeletplugin.EnableDeviceMetadata(true, []schema.GroupVersion{v1beta1.SchemeGroupVersion, v1alpha1.SchemeGroupVersion}),
	))
	pool := resourceslice.Pool{Slices: []resourceslice.Slice{{Devices: published}}}
	resources := resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{*nodeName: pool}}
	cards.Check(helper.PublishResources(ctx, resources))
	select {}
}

func describe(name, uuid, product string) resource.Device {
	text := func(value string) resource.DeviceAttribute { return resource.DeviceAttribute{StringValue: &value} }
	return resource.Device{
		Name: name,
		Attributes: map[resource.QualifiedName]resource.DeviceAttribute{
			"type": text("gpu"), "uuid": text(uuid), "productName": text(product),
		},
	}
}

func (d *driver) PrepareResourceClaims(_ context.Context, claims []*resource.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	results := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		devices, err := d.prepare(claim)
		results[claim.UID] = kubeletplugin.PrepareResult{Devices: devices, Err: err}
	}
	return results, nil
}

func (d *driver) prepare(claim *resource.ResourceClaim) (devices []kubeletplugin.Device, err error) {
	var uuids []string
	for _, result := range claim.Status.Allocation.Devices.Results {
		if result.Driver != driverName {
			continue
		}
		attributes := map[string]resource.DeviceAttribute{}
		for name, attribute := range d.devices[result.Device].Attributes {
			attributes[string(name)] = attribute
		}
		uuids = append(uuids, d.uuids[result.Device])
		devices = append(devices, kubeletplugin.Device{
			Requests:     []string{result.Request},
			PoolName:     result.Pool,
			DeviceName:   result.Device,
			CDIDeviceIDs: []string{cdiKind + "=" + string(claim.UID)},
			Metadata:     &kubeletplugin.DeviceMetadata{Attributes: attributes},
		})
	}
	log.Printf("Preparing %s/%s: %v", claim.Namespace, claim.Name, uuids)
	edits, err := d.node.Allocate(string(claim.UID), uuids)
	if err != nil {
		return nil, err
	}
	return devices, d.writeSpecification(claim.UID, edits)
}

// writeSpecification writes the CDI specification of a claim. Every claim has its own name, because the container runtime
// caches specifications.
func (d *driver) writeSpecification(claim types.UID, edits cards.Edits) (err error) {
	container := cdi.ContainerEdits{Env: []string{edits.Variable + "=" + edits.Value}}
	for at, from := range edits.Mounts {
		mount := cdi.Mount{HostPath: from, ContainerPath: at, Options: []string{"ro", "bind"}}
		container.Mounts = append(container.Mounts, &mount)
	}
	spec := cdi.Spec{Kind: cdiKind, Devices: []cdi.Device{{Name: string(claim), ContainerEdits: container}}}
	if spec.Version, err = cdi.MinimumRequiredVersion(&spec); err != nil {
		return err
	}
	return cards.Replace(d.specification(claim), spec)
}

func (d *driver) specification(claim types.UID) string {
	return filepath.Join(d.cdi, fmt.Sprintf("%s_%s.json", driverName, claim))
}

func (d *driver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	results := map[types.UID]error{}
	for _, claim := range claims {
		results[claim.UID] = errors.Join(os.RemoveAll(d.specification(claim.UID)), d.node.Release(string(claim.UID)))
		log.Printf("Unprepared %s/%s: %v", claim.Namespace, claim.Name, results[claim.UID])
	}
	return results, nil
}

func (d *driver) HandleError(_ context.Context, err error, message string) {
	log.Printf("%s: %v", message, err)
	if !errors.Is(err, kubeletplugin.ErrRecoverable) {
		os.Exit(1)
	}
}

// WatchHealthStatus is never called, because the health service is disabled.
func (d *driver) WatchHealthStatus(context.Context, chan<- kubeletplugin.DeviceHealthReport) error {
	return kubeletplugin.ErrHealthNotSupported
}

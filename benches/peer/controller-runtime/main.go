// An ordinary controller-runtime webhook, as in the framework's documentation: it decodes the pod into its type, changes it, and
// lets PatchResponseFromRaw compute the patch.
//
//	controller-runtime PORT CERT KEY SIDECAR
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func main() {
	ctrl.SetLogger(zap.New())
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: controller-runtime PORT CERT KEY SIDECAR")
	}
	port, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	injector := &injector{decoder: admission.NewDecoder(scheme.Scheme)}
	file, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(file, &injector.sidecar); err != nil {
		return fmt.Errorf("%s: %w", args[3], err)
	}
	server := webhook.NewServer(webhook.Options{
		Host:     "127.0.0.1",
		Port:     port,
		CertDir:  filepath.Dir(args[1]),
		CertName: filepath.Base(args[1]),
		KeyName:  filepath.Base(args[2]),
	})
	server.Register("/mutate", &webhook.Admission{Handler: injector})
	return server.Start(ctrl.SetupSignalHandler())
}

type injector struct {
	decoder admission.Decoder
	sidecar sidecar
}

type sidecar struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Container   corev1.Container  `json:"container"`
	Volume      corev1.Volume     `json:"volume"`
}

func (i *injector) Handle(_ context.Context, req admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := i.decoder.Decode(req, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	pod.Labels = merged(pod.Labels, i.sidecar.Labels)
	pod.Annotations = merged(pod.Annotations, i.sidecar.Annotations)
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, i.sidecar.Container)
	pod.Spec.Volumes = append(pod.Spec.Volumes, i.sidecar.Volume)

	marshaled, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, marshaled)
}

func merged(into, from map[string]string) map[string]string {
	if into == nil {
		into = map[string]string{}
	}
	for key, value := range from {
		into[key] = value
	}
	return into
}

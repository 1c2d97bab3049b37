// Package cards has what both programs of this module share about a node's fake GPUs. Each GPU has a file UUID.json with
// what the fake driver reports to a process that has only this GPU.
package cards

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

// Node has the arguments of a program's command line.
type Node struct {
	UUIDs     []string
	folder    string
	scenarios string
	library   string
}

// Edits are the changes to a container that gets GPUs.
type Edits struct {
	// Mounts maps paths in the container to paths on the node. All mounts are read-only.
	Mounts   map[string]string
	Variable string
	Value    string
}

// scenario has the fields of a fake driver's file that this package needs.
type scenario struct {
	DriverVersion string            `json:"driver_version,omitempty"`
	Devices       []json.RawMessage `json:"devices"`
}

const (
	libraryInContainer  = "/usr/lib/libnvidia-ml.so.1"
	scenarioInContainer = "/fake-nvml"
	scenarioFile        = "scenario.json"
	scenarioVariable    = "FAKE_NVML_SCENARIO"
)

// Parse reads the command line. A program declares its own flags before. The arguments are the UUIDs of the GPUs.
func Parse() Node {
	var node Node
	flag.StringVar(&node.folder, "cards", "", "the folder with the GPUs' files")
	flag.StringVar(&node.scenarios, "scenarios", "", "the folder for the scenarios of containers; no other program may use it")
	flag.StringVar(&node.library, "library", "", "the fake driver's library")
	flag.Parse()
	node.UUIDs = flag.Args()
	return node
}

// Name returns the marketing name of a GPU.
func (n Node) Name(uuid string) (string, error) {
	single, err := n.read(uuid)
	if err != nil {
		return "", err
	}
	var card struct {
		Name string `json:"name"`
	}
	return card.Name, json.Unmarshal(single.Devices[0], &card)
}

// Allocate writes the scenario of a container with these GPUs. It replaces the scenario with the same name.
func (n Node) Allocate(name string, uuids []string) (Edits, error) {
	var combined scenario
	for _, uuid := range uuids {
		single, err := n.read(uuid)
		if err != nil {
			return Edits{}, err
		}
		combined.DriverVersion = single.DriverVersion
		combined.Devices = append(combined.Devices, single.Devices...)
	}
	folder := n.folderOf(name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Edits{}, err
	}
	edits := Edits{
		// The folder is mounted and not the file, because a container does not see a mounted file's replacement.
		Mounts:   map[string]string{libraryInContainer: n.library, scenarioInContainer: folder},
		Variable: scenarioVariable,
		Value:    scenarioInContainer + "/" + scenarioFile,
	}
	return edits, Replace(filepath.Join(folder, scenarioFile), combined)
}

// Release removes the scenario with this name, if it exists.
func (n Node) Release(name string) error {
	return os.RemoveAll(n.folderOf(name))
}

func (n Node) folderOf(name string) string {
	return filepath.Join(n.scenarios, name)
}

func (n Node) read(uuid string) (scenario, error) {
	path := filepath.Join(n.folder, uuid+".json")
	text, err := os.ReadFile(path)
	if err != nil {
		return scenario{}, err
	}
	var single scenario
	if err := json.Unmarshal(text, &single); err != nil {
		return scenario{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(single.Devices) != 1 {
		return scenario{}, fmt.Errorf("%s: %d devices, expected 1", path, len(single.Devices))
	}
	return single, nil
}

// Replace writes a file in one step, so that a reader never sees a partial file.
func Replace(path string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	next := path + ".next"
	if err := os.WriteFile(next, text, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// Must returns the value, or ends the program if there is an error.
func Must[T any](value T, err error) T {
	Check(err)
	return value
}

// Check ends the program if there is an error.
func Check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

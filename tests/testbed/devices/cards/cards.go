// Package cards is what both programs of this module know of a node's fake cards: for each a file UUID.json with what
// the fake driver shows to a process that has this card alone.
package cards

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

// Node is what the one who starts a program tells it.
type Node struct {
	UUIDs   []string
	folder  string
	given   string
	library string
}

// Given is what a container gets with its cards.
type Given struct {
	// Mounts is read-only paths of the node by paths of the container.
	Mounts   map[string]string
	Variable string
	Value    string
}

// A file of the fake driver, as far as the work here needs to know it.
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

// Parse reads the command line, on which the flags of the program itself have been declared: the cards are its arguments.
func Parse() Node {
	var node Node
	flag.StringVar(&node.folder, "cards", "", "the folder of the cards' files")
	flag.StringVar(&node.given, "given", "", "a folder of this program's own, for what containers get")
	flag.StringVar(&node.library, "library", "", "the fake driver's library")
	flag.Parse()
	node.UUIDs = flag.Args()
	return node
}

// Name is the marketing name of a card.
func (n Node) Name(uuid string) (string, error) {
	alone, err := n.read(uuid)
	if err != nil {
		return "", err
	}
	var card struct {
		Name string `json:"name"`
	}
	return card.Name, json.Unmarshal(alone.Devices[0], &card)
}

// Give lays out the cards for a container; what was laid out under this name before is replaced.
func (n Node) Give(name string, uuids []string) (Given, error) {
	var together scenario
	for _, uuid := range uuids {
		alone, err := n.read(uuid)
		if err != nil {
			return Given{}, err
		}
		together.DriverVersion = alone.DriverVersion
		together.Devices = append(together.Devices, alone.Devices...)
	}
	folder := n.folderOf(name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Given{}, err
	}
	given := Given{
		// The folder and not the file: a mounted file that is replaced is never seen.
		Mounts:   map[string]string{libraryInContainer: n.library, scenarioInContainer: folder},
		Variable: scenarioVariable,
		Value:    scenarioInContainer + "/" + scenarioFile,
	}
	return given, Replace(filepath.Join(folder, scenarioFile), together)
}

// TakeBack forgets what was given under a name, if anything was.
func (n Node) TakeBack(name string) error {
	return os.RemoveAll(n.folderOf(name))
}

func (n Node) folderOf(name string) string {
	return filepath.Join(n.given, name)
}

func (n Node) read(uuid string) (scenario, error) {
	path := filepath.Join(n.folder, uuid+".json")
	text, err := os.ReadFile(path)
	if err != nil {
		return scenario{}, err
	}
	var alone scenario
	if err := json.Unmarshal(text, &alone); err != nil {
		return scenario{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(alone.Devices) != 1 {
		return scenario{}, fmt.Errorf("%s: %d cards", path, len(alone.Devices))
	}
	return alone, nil
}

// Replace writes a file in one step, so that nobody reads half of it.
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

// Must ends the program at what it cannot work without.
func Must[T any](value T, err error) T {
	Check(err)
	return value
}

// Check is Must of what has no value.
func Check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Command kubectl-reader prints what kubectl reads from manifests. For each file named in the arguments it writes one line of
// JSON: the documents, or the error. Numbers are written as kubectl sends them to the API server.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/cli-runtime/pkg/resource"
)

// reading is the result of one file.
type reading struct {
	Documents []any  `json:"documents"`
	Error     string `json:"error,omitempty"`
}

// ValidateBytes receives every document that is not empty, before kubectl looks for its kind.
func (r *reading) ValidateBytes(document []byte) error {
	var value any
	if err := utiljson.Unmarshal(document, &value); err != nil {
		return err
	}
	r.Documents = append(r.Documents, value)
	return nil
}

func read(path string) reading {
	result := reading{Documents: []any{}}
	mapper := resource.NewLocalBuilder().Unstructured().Mapper()
	file := resource.FileVisitor{Path: path, StreamVisitor: resource.NewStreamVisitor(nil, mapper, path, &result)}
	// A document without a kind is an error of that document only.
	err := file.Visit(func(*resource.Info, error) error { return nil })
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func main() {
	lines := json.NewEncoder(os.Stdout)
	for _, path := range os.Args[1:] {
		if err := lines.Encode(read(path)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

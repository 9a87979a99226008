// The Kubernetes provider, as its own main package makes it. That one embeds two files which its Makefile writes
// first; here they are read from beside the program, where the build has put them.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

const folder = "cmd/pulumi-resource-kubernetes"

func beside(name string) []byte {
	program, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	found, err := os.ReadFile(filepath.Join(filepath.Dir(program), folder, name))
	if err != nil {
		log.Fatal(err)
	}
	return found
}

func main() {
	provider.Serve("kubernetes", version.Version, beside("schema.json"), beside("terraform-mapping.json"))
}

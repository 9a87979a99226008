// Command judge asks two judges of other people about Kubernetes objects.
//
//	judge pods     < pods.json     the reference Pod Security evaluator, for each pod and level
//	judge network  < network.json  cyclonus' matcher, for each connection: may it be opened?
//
// It reads one JSON document, writes one, and asks nobody: no cluster, no network.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	commands := map[string]func() error{"pods": pods, "network": network}
	if len(os.Args) != 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "judge: say pods or network; the input is JSON on standard input")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](); err != nil {
		fmt.Fprintf(os.Stderr, "judge %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// read decodes standard input strictly: a field that a type does not have is an error, not a silence.
func read(into any) error {
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func write(answer any) error {
	return json.NewEncoder(os.Stdout).Encode(answer)
}

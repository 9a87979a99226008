// Command probe is what the tests of the local cluster run in pods: a server, a client, and a writer of files.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(what string, args []string) error {
	client := http.Client{Timeout: 3 * time.Second}
	switch what {
	case "serve": // ADDRESS TEXT: answer TEXT, and what GET /get?URL gets
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, args[1]) })
		http.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
			answer, err := client.Get(r.URL.RawQuery)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			defer answer.Body.Close()
			io.Copy(w, answer.Body)
		})
		http.HandleFunc("/resolve", func(w http.ResponseWriter, r *http.Request) {
			addresses, err := net.LookupHost(r.URL.RawQuery)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			fmt.Fprint(w, addresses)
		})
		return http.ListenAndServe(args[0], nil)
	case "write": // FILE TEXT: write it, then wait for ever
		if err := os.WriteFile(args[0], []byte(args[1]), 0o640); err != nil {
			return err
		}
		fmt.Println("written")
		for {
			time.Sleep(time.Hour)
		}
	}
	return fmt.Errorf("%q: want serve or write", what)
}

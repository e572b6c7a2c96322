// Command app is what the self-test runs in pods. It says who it is, and
// fetches addresses for whoever asks, so that the test can see the network
// from inside of a pod.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "fetch" {
		if err := fetch(os.Stdout, os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "I am %s\n", name) })
	http.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		if err := fetch(w, r.FormValue("url")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	log.Print("listening")
	log.Fatal(http.ListenAndServe(":8080", nil))
}

func fetch(out io.Writer, url string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(out, response.Body)
	return err
}

package app

import (
	"fmt"
	"net/http"

	"sotto/web"
)

// frontPage is the web client, or a page for terminals when this program was built without one.
func frontPage(url string) (http.Handler, error) {
	client, built, err := web.Client()
	if err != nil {
		return nil, fmt.Errorf("reading the web client: %w", err)
	}
	if built {
		return client, nil
	}
	return welcome(url), nil
}

// welcome is what a browser sees of a server that was built without the web client.
func welcome(url string) http.HandlerFunc {
	text := fmt.Sprintf(`This is a Sotto server: end-to-end encrypted chat. It can read nothing of what people write.

This one was built without the web client (make web builds it). In a terminal:

  sotto --server %[1]s register NAME     make an account
  sotto --server %[1]s login NAME        add this computer to your account
  sotto chat NAME                        chat with someone

The interface is described in api/openapi.yaml and api/socket.md of the source.
`, url)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			write(w, http.StatusNotFound, "There is nothing here. Start at /\n")
			return
		}
		write(w, http.StatusOK, text)
	}
}

package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Toxiproxy stands in the connections between processes, passes them on, and disturbs those it is told to.
type Toxiproxy struct {
	Process
	api string
}

// StartToxiproxy builds it into a folder, which takes a moment the first time, and starts it.
func StartToxiproxy(ctx context.Context, dir string) (*Toxiproxy, error) {
	path := filepath.Join(dir, "toxiproxy")
	if err := build("-modfile=tools/go.mod", "-o", path, "github.com/Shopify/toxiproxy/v2/cmd/server"); err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	x := &Toxiproxy{api: address(port)}
	x.Name, x.Path, x.Args = "toxiproxy", path, []string{"-host", "127.0.0.1", "-port", strconv.Itoa(port)}
	x.Env = []string{"LOG_LEVEL=fatal"}
	if err := x.Start(); err != nil {
		return nil, err
	}
	return x, x.WaitHTTP(ctx, x.api+"/version")
}

// Link is a way from one process to another, through Toxiproxy.
type Link struct {
	From, To string
	proxy    *Toxiproxy
	name     string
}

// Disturbance is what can be done to a link.
type Disturbance struct {
	Name       string
	kind       string
	attributes map[string]int
}

// Disturbances of a link: nothing gets through, though connections stay open; everything is late by a good second in
// both directions together; connections are torn down as soon as somebody says something.
var Disturbances = []Disturbance{
	{"partition", "timeout", map[string]int{"timeout": 0}},
	{"delay", "latency", map[string]int{"latency": 500, "jitter": 200}},
	{"reset", "reset_peer", map[string]int{"timeout": 0}},
}

// Disturb begins a disturbance and returns what ends it.
func (l *Link) Disturb(ctx context.Context, d Disturbance) (heal func() error, err error) {
	toxics := "/proxies/" + l.name + "/toxics"
	for _, stream := range []string{"upstream", "downstream"} {
		if err := l.proxy.do(ctx, http.MethodPost, toxics, map[string]any{
			"name": stream, "type": d.kind, "stream": stream, "attributes": d.attributes,
		}); err != nil {
			return nil, err
		}
	}
	return func() error {
		for _, stream := range []string{"upstream", "downstream"} {
			if err := l.proxy.do(ctx, http.MethodDelete, toxics+"/"+stream, nil); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// link makes a way to a port, and returns the port at which it begins.
func (x *Toxiproxy) link(ctx context.Context, v *Server, from, to string, port int) (int, error) {
	listen, err := FreePort()
	if err != nil {
		return 0, err
	}
	name := fmt.Sprintf("%s-%s-%d", from, to, listen)
	err = x.do(ctx, http.MethodPost, "/proxies", map[string]any{
		"name": name, "listen": listenOn(listen), "upstream": listenOn(port), "enabled": true,
	})
	v.Links = append(v.Links, &Link{From: from, To: to, proxy: x, name: name})
	return listen, err
}

func (x *Toxiproxy) do(ctx context.Context, method, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, x.api+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking Toxiproxy: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil || res.StatusCode >= 300 {
		return fmt.Errorf("asking Toxiproxy: %s: %s %w", res.Status, answer, err)
	}
	return nil
}

// linked leads the settings of a process through links to what it uses; targets are the ports of those, by name.
func (x *Toxiproxy) linked(ctx context.Context, v *Server, process string, env []string, targets map[string]int) ([]string, error) {
	env = slices.Clone(env)
	for to, port := range targets {
		direct := ":" + strconv.Itoa(port)
		i := slices.IndexFunc(env, func(setting string) bool { return strings.Contains(setting, direct) })
		if i < 0 {
			return nil, fmt.Errorf("no setting of %s leads to %s", process, to)
		}
		listen, err := x.link(ctx, v, process, to, port)
		if err != nil {
			return nil, err
		}
		env[i] = strings.Replace(env[i], direct, ":"+strconv.Itoa(listen), 1)
	}
	return env, nil
}

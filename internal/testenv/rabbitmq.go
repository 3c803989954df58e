package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
)

// rabbitServer is where Debian's package rabbitmq-server keeps the program itself; the one in PATH changes the user.
const rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// rabbitHosts is how many virtual hosts a node has. Tests take one each instead of a node each: a node takes 5 s of CPU.
const rabbitHosts = 48

// RabbitMQ is a node of its own: name, cookie, ports and data. It also listens with TLS.
type RabbitMQ struct {
	Process
	Certificates Certificates

	dir       string
	epmd      Process
	port, tls int
	hosts     atomic.Int64 // virtual hosts that were taken
}

// NewRabbitMQ prepares a node in an empty folder.
func NewRabbitMQ(dir string) (*RabbitMQ, error) {
	if _, err := os.Stat(rabbitServer); err != nil {
		return nil, errors.New("RabbitMQ is missing; install it with `make tools` or: sudo apt-get install -y rabbitmq-server")
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	r := &RabbitMQ{dir: dir, port: ports[0], tls: ports[1]}
	if r.Certificates, err = NewCertificates(dir); err != nil {
		return nil, err
	}
	if err := r.writeFiles(); err != nil {
		return nil, err
	}
	epmdPort := fmt.Sprint(ports[3])
	r.epmd = Process{Name: "epmd", Path: "/usr/bin/epmd", Args: []string{"-port", epmdPort, "-address", "127.0.0.1"}}
	// With RUNNING_UNDER_SYSTEMD the script becomes the Erlang machine instead of waiting for it, so that a signal hits.
	r.Name, r.Path = "rabbitmq", rabbitServer
	r.Env = []string{
		"HOME=" + dir, "RUNNING_UNDER_SYSTEMD=true", fmt.Sprintf("RABBITMQ_NODENAME=sotto%d@localhost", r.port),
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "rabbitmq.conf"), "RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "mnesia"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"), "RABBITMQ_LOG_BASE=" + dir, "RABBITMQ_LOGS=-",
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", ports[2]), "ERL_EPMD_PORT=" + epmdPort, "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +sbwt none",
	}
	return r, nil
}

func (r *RabbitMQ) writeFiles() error {
	type permission struct {
		User      string `json:"user"`
		Vhost     string `json:"vhost"`
		Configure string `json:"configure"`
		Write     string `json:"write"`
		Read      string `json:"read"`
	}
	definitions := struct {
		Users       []map[string]string `json:"users"`
		Vhosts      []map[string]string `json:"vhosts"`
		Permissions []permission        `json:"permissions"`
	}{Users: []map[string]string{{"name": "sotto", "password": "sotto", "tags": ""}}}
	for i := range rabbitHosts {
		name := fmt.Sprintf("v%d", i)
		definitions.Vhosts = append(definitions.Vhosts, map[string]string{"name": name})
		definitions.Permissions = append(definitions.Permissions, permission{"sotto", name, ".*", ".*", ".*"})
	}
	b, err := json.Marshal(definitions)
	if err != nil {
		return err
	}
	conf := fmt.Sprintf(`listeners.tcp.1 = 127.0.0.1:%d
listeners.ssl.1 = 127.0.0.1:%d
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
load_definitions = %s
log.console = true
log.console.level = error
`, r.port, r.tls, r.Certificates.CA, r.Certificates.Cert, r.Certificates.Key, filepath.Join(r.dir, "definitions.json"))
	for name, content := range map[string]string{
		"rabbitmq.conf": conf, "plugins": "[].", ".erlang.cookie": fmt.Sprintf("SOTTO%d", r.port), "definitions.json": string(b),
	} {
		mode := os.FileMode(0o600)
		if name == ".erlang.cookie" {
			mode = 0o400
		}
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), mode); err != nil {
			return fmt.Errorf("preparing RabbitMQ: %w", err)
		}
	}
	return nil
}

// Up starts the node, or starts it again on the same data, and waits until it takes connections: about 6 s.
func (r *RabbitMQ) Up(ctx context.Context) error {
	if !r.epmd.Running() {
		if err := r.epmd.Start(); err != nil {
			return err
		}
	}
	if err := r.Start(); err != nil {
		return err
	}
	return r.WaitTCP(ctx, fmt.Sprintf("127.0.0.1:%d", r.port))
}

// Close ends the node and what belongs to it.
func (r *RabbitMQ) Close() error { return errors.Join(r.Kill9(), r.epmd.Kill9()) }

// URL names a virtual host that no other test has.
func (r *RabbitMQ) URL() string {
	return fmt.Sprintf("amqp://sotto:sotto@127.0.0.1:%d/v%d", r.port, r.hosts.Add(1)%rabbitHosts)
}

// TLSURL is URL with TLS.
func (r *RabbitMQ) TLSURL() string {
	return fmt.Sprintf("amqps://sotto:sotto@127.0.0.1:%d/v%d", r.tls, r.hosts.Add(1)%rabbitHosts)
}

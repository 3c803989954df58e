package testenv

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// Redis is a server of its own that keeps nothing on disk. It also listens with TLS.
type Redis struct {
	Process
	URL, TLSURL  string
	Certificates Certificates
	port, tls    int
}

// NewRedis prepares a server in an empty folder.
func NewRedis(dir string) (*Redis, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("Redis is missing; install it with `make tools` or: sudo apt-get install -y redis-server")
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	r := &Redis{
		URL: fmt.Sprintf("redis://127.0.0.1:%d/0", ports[0]), TLSURL: fmt.Sprintf("rediss://127.0.0.1:%d/0", ports[1]),
		port: ports[0], tls: ports[1],
	}
	if r.Certificates, err = NewCertificates(dir); err != nil {
		return nil, err
	}
	r.Name, r.Path = "redis", path
	r.Args = []string{
		"--bind", "127.0.0.1", "--port", fmt.Sprint(ports[0]), "--dir", dir, "--save", "", "--appendonly", "no",
		"--tls-port", fmt.Sprint(ports[1]), "--tls-cert-file", r.Certificates.Cert, "--tls-key-file", r.Certificates.Key,
		"--tls-ca-cert-file", r.Certificates.CA, "--tls-auth-clients", "no",
	}
	return r, nil
}

// Up starts the server and waits until it takes connections.
func (r *Redis) Up(ctx context.Context) error {
	if err := r.Start(); err != nil {
		return err
	}
	return r.WaitTCP(ctx, listenOn(r.port))
}

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Shape is one way to run a server. Suites run over each of them, unchanged.
type Shape struct {
	Name     string
	Postgres bool
	Separate bool // a process for each service, RabbitMQ and Redis between them
	Chats    int  // processes of the chat service, when separate
	Nginx    bool // in front instead of the gateway
	TLS      bool // to RabbitMQ and Redis
	Links    bool // Toxiproxy between every two processes, when separate
}

// Shapes are the ways that are supported.
var Shapes = []Shape{
	{Name: "serve/SQLite"},
	{Name: "serve/PostgreSQL", Postgres: true},
	{Name: "split", Postgres: true, Separate: true, Chats: 1},
	{Name: "2chat/nginx", Postgres: true, Separate: true, Chats: 2, Nginx: true, TLS: true},
}

// Services are the programs that a shape needs besides our own. They are started when they are needed first and shared by
// all servers of a suite: each server has a database, a virtual host and a number of its own.
type Services struct {
	Dir      string   // removed by whoever made it
	Settings []string // of PostgreSQL
	Postgres *Postgres
	RabbitMQ *RabbitMQ
	Redis    *Redis
	links    *Toxiproxy
	servers  int
}

// Start starts what the shape needs and does not run yet.
func (s *Services) Start(ctx context.Context, shape Shape) (err error) {
	if shape.Postgres && s.Postgres == nil {
		if s.Postgres, err = StartPostgres(ctx, s.Settings...); err != nil {
			return err
		}
	}
	if shape.Links && s.links == nil {
		if s.links, err = StartToxiproxy(ctx, s.Dir); err != nil {
			return err
		}
	}
	if !shape.Separate || s.RabbitMQ != nil {
		return nil
	}
	dir := func(name string) string { return filepath.Join(s.Dir, name) }
	if err := errors.Join(os.MkdirAll(dir("rabbitmq"), 0o700), os.MkdirAll(dir("redis"), 0o700)); err != nil {
		return err
	}
	if s.RabbitMQ, err = NewRabbitMQ(dir("rabbitmq")); err != nil {
		return err
	}
	if s.Redis, err = NewRedis(dir("redis")); err != nil {
		return err
	}
	return errors.Join(s.RabbitMQ.Up(ctx), s.Redis.Up(ctx), s.writeAuthorities())
}

// authorities is the file with those of RabbitMQ and Redis.
func (s *Services) authorities() string { return filepath.Join(s.Dir, "authorities.pem") }

func (s *Services) writeAuthorities() error {
	var all []byte
	for _, name := range []string{s.RabbitMQ.Certificates.CA, s.Redis.Certificates.CA} {
		pem, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("reading a certificate: %w", err)
		}
		all = append(all, pem...)
	}
	return os.WriteFile(s.authorities(), all, 0o600)
}

// Close ends everything that was started.
func (s *Services) Close() error {
	var all []error
	if s.links != nil {
		all = append(all, s.links.Kill9())
	}
	if s.Redis != nil {
		all = append(all, s.Redis.Kill9())
	}
	if s.RabbitMQ != nil {
		all = append(all, s.RabbitMQ.Close())
	}
	if s.Postgres != nil {
		all = append(all, s.Postgres.Remove())
	}
	return errors.Join(all...)
}

// Server is a whole server of some shape. Its processes keep their names, addresses and data over restarts.
type Server struct {
	URL       string
	DataDir   string
	Processes []*Process // in the order in which they start
	Named     map[string]*Process
	Links     []*Link
	ready     map[*Process]string // URL that answers 200 when it is ready
}

// secretsOfTests are the settings that separate services must have.
const secretsOfTests = `SOTTO_SERVICE_SECRET=service-secret-of-a-test-0123456789
SOTTO_JWT_SECRET=jwt-secret-of-a-test-0123456789abcdef
SOTTO_PEPPER=pepper-of-a-test-0123456789abcdef0123
SOTTO_FRANKING_KEY=1:franking-key-of-a-test-0123456789abcdef
SOTTO_NOTIFICATION_SECRET=notification-secret-of-a-test-0123456789`

// NewServer prepares a server; binaries is the folder that Build wrote to. Over PostgreSQL its database is new and begins
// as a copy of another, unless from is empty. Without PostgreSQL the data directory is all there is.
func (s *Services) NewServer(ctx context.Context, shape Shape, binaries, dataDir, database, from string) (*Server, error) {
	v := &Server{DataDir: dataDir, Named: make(map[string]*Process), ready: make(map[*Process]string)}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("preparing a server: %w", err)
	}
	sottod := filepath.Join(binaries, "sottod")
	env := []string{"SOTTO_TRUSTED_PROXIES=127.0.0.1/32", "SOTTO_LOG_LEVEL=debug"}
	if shape.Postgres {
		url, err := s.Postgres.NewDatabase(ctx, database, from)
		if err != nil {
			return nil, err
		}
		env = append(env, "SOTTO_DATABASE_URL="+url)
		env = append(env, strings.Split(secretsOfTests, "\n")...) // the same for every shape: they can share a database
	}
	free, err := freePorts(3 + shape.Chats)
	if err != nil {
		return nil, err
	}
	at := ports{front: free[0], user: free[1], notification: free[2], chats: free[3:]}
	v.URL = address(at.front)
	if !shape.Separate {
		v.add(&Process{Name: "serve", Path: sottod, Env: env, Args: []string{"serve", "--data-dir", dataDir, "--listen", listenOn(at.front)}}, at.front)
		return v, nil
	}
	s.servers++
	redis, rabbit := s.Redis.URL, s.RabbitMQ.URL()
	if shape.TLS {
		redis, rabbit = s.Redis.TLSURL, s.RabbitMQ.TLSURL()
		env = append(env, "SOTTO_CA_FILE="+s.authorities())
	}
	redis = strings.TrimSuffix(redis, "/0") + fmt.Sprintf("/%d", s.servers%16)
	var chatURLs []string
	for _, p := range at.chats {
		chatURLs = append(chatURLs, address(p))
	}
	env = append(env, "SOTTO_BROKER_URL="+rabbit, "SOTTO_REDIS_URL="+redis, "SOTTO_PUBLIC_URL="+v.URL,
		"SOTTO_USER_URL="+address(at.user), "SOTTO_NOTIFICATION_URL="+address(at.notification), "SOTTO_CHAT_URL="+strings.Join(chatURLs, ","))
	service := func(name, command string, port int) {
		v.add(&Process{Name: name, Path: sottod, Env: env, Args: []string{command, "--listen", listenOn(port)}}, port)
	}
	service("user", "user", at.user)
	for i, p := range at.chats {
		service(fmt.Sprintf("chat%d", i+1), "chat", p)
	}
	service("notification", "notification", at.notification)
	if !shape.Nginx {
		service("gateway", "gateway", at.front)
	}
	if shape.Links {
		if err := s.linkAll(ctx, v, shape, &at); err != nil {
			return nil, err
		}
	}
	if shape.Nginx {
		nginx, err := newNginx(filepath.Join(dataDir, "nginx"), at)
		if err != nil {
			return nil, err
		}
		v.add(nginx, at.front)
	}
	return v, nil
}

// ports are those of a server's processes, or those of links to them.
type ports struct {
	front, user, notification int
	chats                     []int
}

// linkAll puts links between the processes, and between people and the one in front. Afterwards the ports are those at
// which nginx reaches the services.
func (s *Services) linkAll(ctx context.Context, v *Server, shape Shape, at *ports) (err error) {
	stores := map[string]int{"postgres": s.Postgres.Port, "rabbitmq": s.RabbitMQ.port, "redis": s.Redis.port}
	if shape.TLS {
		stores["rabbitmq"], stores["redis"] = s.RabbitMQ.tls, s.Redis.tls
	}
	chats := make(map[string]int)
	for i, port := range at.chats {
		chats[fmt.Sprintf("chat%d", i+1)] = port
	}
	user := map[string]int{"user": at.user}
	uses := map[string][]map[string]int{
		"user": {stores, chats}, "chat": {stores, user}, "notification": {stores, user},
		"gateway": {user, chats, {"notification": at.notification}},
	}
	for _, p := range v.Processes {
		for _, targets := range uses[strings.TrimRight(p.Name, "12")] {
			if p.Env, err = s.links.linked(ctx, v, p.Name, p.Env, targets); err != nil {
				return err
			}
		}
	}
	people, err := s.links.link(ctx, v, "people", "server", at.front)
	v.URL = address(people)
	if err != nil || !shape.Nginx {
		return err
	}
	if at.user, err = s.links.link(ctx, v, "nginx", "user", at.user); err != nil {
		return err
	}
	if at.notification, err = s.links.link(ctx, v, "nginx", "notification", at.notification); err != nil {
		return err
	}
	for i, port := range at.chats {
		if at.chats[i], err = s.links.link(ctx, v, "nginx", fmt.Sprintf("chat%d", i+1), port); err != nil {
			return err
		}
	}
	return nil
}

func listenOn(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
func address(port int) string  { return "http://" + listenOn(port) }

func (v *Server) add(p *Process, port int) {
	v.Processes, v.Named[p.Name] = append(v.Processes, p), p
	v.ready[p] = address(port) + "/readyz"
}

// Up starts every process that does not run, all at once, and waits until each is ready.
func (v *Server) Up(ctx context.Context) error {
	for _, p := range v.Processes {
		if !p.Running() {
			if err := p.Start(); err != nil {
				return err
			}
		}
	}
	for _, p := range v.Processes {
		if err := v.Ready(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// Ready waits until a process takes work.
func (v *Server) Ready(ctx context.Context, p *Process) error { return p.WaitHTTP(ctx, v.ready[p]) }

// Kill9 ends every process as a power cut of the programs would.
func (v *Server) Kill9() error {
	var all []error
	for _, p := range v.Processes {
		all = append(all, p.Kill9())
	}
	return errors.Join(all...)
}

// Stop asks every process to end, the one in front first.
func (v *Server) Stop() error {
	var all []error
	for i := len(v.Processes) - 1; i >= 0; i-- {
		all = append(all, v.Processes[i].Stop())
	}
	return errors.Join(all...)
}

// Restart kills everything and brings it back on the same data and addresses.
func (v *Server) Restart(ctx context.Context) error {
	if err := v.Kill9(); err != nil {
		return err
	}
	return v.Up(ctx)
}

// CleanUp kills the processes when the test ends, and shows their logs if the test failed.
func (v *Server) CleanUp(t testing.TB) {
	for _, p := range v.Processes {
		p.CleanUp(t)
	}
}

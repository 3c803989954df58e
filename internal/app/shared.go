package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"sotto/internal/broker"
	brokerlocal "sotto/internal/broker/local"
	"sotto/internal/broker/rabbit"
	"sotto/internal/chat"
	"sotto/internal/config"
	"sotto/internal/event"
	hintlocal "sotto/internal/hint/local"
	hintredis "sotto/internal/hint/redis"
	"sotto/internal/limit"
	limitlocal "sotto/internal/limit/local"
	limitredis "sotto/internal/limit/redis"
	"sotto/internal/sqldb"
)

// Waits for Redis. Nothing that people wait for needs it for longer.
const (
	redisDial   = time.Second
	redisAnswer = time.Second
	redisPool   = 16 // connections of one process
)

// events is the broker.
type events interface {
	Publish(ctx context.Context, e event.Event) error
	Subscribe(ctx context.Context, queue string, types []event.Type, handler broker.Handler) error
}

// hints carry wake-ups.
type hints = chat.Hints

// shared is what processes have in common, or this one's own when there is only one.
type shared struct {
	events events
	hints  hints
	allow  allow
	parts  []part // of the health, none of which a process must have to answer
	run    []func(context.Context)
	close  func() error // after run has ended
}

// openShared connects to nothing yet: RabbitMQ and Redis may come later and go away. letters is where the broker of a
// single process keeps its dead letters.
func openShared(c config.Config, letters *sqldb.DB, rates map[limit.Name]limit.Rate, logger *slog.Logger) (*shared, error) {
	s := &shared{close: func() error { return nil }}
	trust, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	if c.BrokerURL == "" {
		s.events = brokerlocal.New(brokerlocal.Options{DB: letters, Now: time.Now, Logger: logger})
	} else {
		b, err := rabbit.New(rabbit.Options{URL: string(c.BrokerURL), TLS: trust, Now: time.Now, Logger: logger.With("broker", "rabbitmq")})
		if err != nil {
			return nil, err
		}
		s.events, s.close = b, b.Close
		s.parts = append(s.parts, part{"broker", b.Ping})
	}
	return s, s.openRedis(c, trust, rates, logger)
}

func (s *shared) openRedis(c config.Config, trust *tls.Config, rates map[limit.Name]limit.Rate, logger *slog.Logger) error {
	if c.RedisURL == "" {
		limits, err := limitlocal.New(time.Now, rates)
		if err != nil {
			return err
		}
		s.hints, s.allow = hintlocal.New(time.Now), limits.Allow
		return nil
	}
	o, err := goredis.ParseURL(string(c.RedisURL))
	if err != nil {
		return errors.New("SOTTO_REDIS_URL cannot be read; write it like redis://:password@host:6379/0")
	}
	if o.TLSConfig != nil && trust != nil {
		o.TLSConfig.RootCAs = trust.RootCAs
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = redisDial, redisAnswer, redisAnswer, redisAnswer
	o.DialerRetries, o.MaxRetries, o.PoolSize, o.ContextTimeoutEnabled = 1, 1, redisPool, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	goredis.SetLogger(&logging.VoidLogger{}) // what fails is told by whoever asked
	client := goredis.NewClient(o)
	h, err := hintredis.New(hintredis.Options{Client: client, Now: time.Now, Rand: rand.Reader, Logger: logger.With("hints", "redis")})
	if err != nil {
		return err
	}
	limits, err := limitredis.New(client, time.Now, rates, logger)
	if err != nil {
		return err
	}
	s.hints, s.allow = h, limits.Allow
	s.run = append(s.run, h.Run)
	s.parts = append(s.parts, part{"redis", func(ctx context.Context) error { return client.Ping(ctx).Err() }})
	broker := s.close
	s.close = func() error { return errors.Join(broker(), client.Close()) }
	return nil
}

// tlsConfig trusts the authorities of the settings; nil stands for those of the system.
func tlsConfig(c config.Config) (*tls.Config, error) {
	if c.CAFile == "" {
		return nil, nil //nolint:nilnil // what crypto/tls takes for the system's authorities
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("SOTTO_CA_FILE: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("SOTTO_CA_FILE: %s holds no certificate in PEM form", c.CAFile)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

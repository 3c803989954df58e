package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/socketio"
	"sotto/internal/sqldb"
	"sotto/internal/telemetry"
)

// registry holds what this process counts.
func (s *services) registry() *prometheus.Registry {
	r := telemetry.NewRegistry()
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "sotto_panics_total", Help: "Panics in handlers that were caught. Must stay 0.",
	}, func() float64 { return float64(s.panics()) }))
	r.MustRegister(poolCollector{map[string]*sqldb.DB{"user": s.userDB, "chat": s.chatDB, "notification": s.notificationDB}})
	if s.user != nil {
		r.MustRegister(gauge("sotto_prekeys_low", "Active devices without a one-time prekey of either sort.", s.user.PreKeysLow))
	}
	if s.chat != nil {
		r.MustRegister(
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "sotto_holes_total", Help: "Positions answered with neither a message nor a reason. Must stay 0.",
			}, func() float64 { return float64(s.chat.Holes.Load()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "sotto_sends_repeated_total", Help: "Sends that were stored before and got their first answer again.",
			}, func() float64 { return float64(s.chat.Repeated.Load()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "sotto_waiting_announced_total", Help: "Events that told of messages that wait.",
			}, func() float64 { return float64(s.chat.Announced.Load()) }),
			gauge("sotto_owed_messages", "Messages that all devices of a member have lost, and that their sender is asked for.",
				s.chat.OwedMessages),
			socketCollector{s.chat.SocketMetrics},
		)
	}
	return r
}

// poolCollector tells how busy the connections to the databases are. A service that this process does not run has none.
type poolCollector struct{ databases map[string]*sqldb.DB }

var (
	poolLabels  = []string{"service", "pool"}
	poolMost    = prometheus.NewDesc("sotto_database_connections_max", "Connections that a pool opens at most.", poolLabels, nil)
	poolOpen    = prometheus.NewDesc("sotto_database_connections_open", "Connections that are open.", poolLabels, nil)
	poolInUse   = prometheus.NewDesc("sotto_database_connections_in_use", "Connections that run something.", poolLabels, nil)
	poolWaits   = prometheus.NewDesc("sotto_database_waits_total", "Times that something waited for a connection.", poolLabels, nil)
	poolWaiting = prometheus.NewDesc("sotto_database_wait_seconds_total", "Time spent waiting for a connection.", poolLabels, nil)
)

func (poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolMost, poolOpen, poolInUse, poolWaits, poolWaiting} {
		ch <- d
	}
}

func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	for service, db := range c.databases {
		if db == nil {
			continue
		}
		for _, p := range db.Pools() {
			send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
				ch <- prometheus.MustNewConstMetric(d, kind, value, service, p.Name)
			}
			send(poolMost, prometheus.GaugeValue, float64(p.MaxOpenConnections))
			send(poolOpen, prometheus.GaugeValue, float64(p.OpenConnections))
			send(poolInUse, prometheus.GaugeValue, float64(p.InUse))
			send(poolWaits, prometheus.CounterValue, float64(p.WaitCount))
			send(poolWaiting, prometheus.CounterValue, p.WaitDuration.Seconds())
		}
	}
}

// gaugeTimeout bounds what a scrape waits for the database; then the value is not a number.
const gaugeTimeout = 2 * time.Second

// gauge counts when it is asked.
func gauge(name, help string, count func(context.Context) (int, error)) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), gaugeTimeout)
		defer cancel()
		n, err := count(ctx)
		if err != nil {
			return math.NaN()
		}
		return float64(n)
	})
}

// socketCollector turns the numbers of the real-time layer, whose names and labels never change, into metrics.
type socketCollector struct{ read func() []socketio.Metric }

func (c socketCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.read() {
		ch <- describe(m)
	}
}

func (c socketCollector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.read() {
		kind := prometheus.CounterValue
		if m.Gauge {
			kind = prometheus.GaugeValue
		}
		ch <- prometheus.MustNewConstMetric(describe(m), kind, float64(m.Count))
	}
}

func describe(m socketio.Metric) *prometheus.Desc {
	labels := prometheus.Labels{}
	if m.Label != "" {
		labels[m.Label] = m.Value
	}
	return prometheus.NewDesc("sotto_socket_"+m.Name, m.Help, nil, labels)
}

// serveMetrics opens the private listener, if one is configured.
func serveMetrics(address string, registry *prometheus.Registry, failed chan<- error) (stop func() error, err error) {
	if address == "" {
		return func() error { return nil }, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for metrics on %s: %w; choose another address with --metrics-listen", address, err)
	}
	server := &http.Server{Handler: telemetry.PrivateHandler(registry), ReadHeaderTimeout: readHeaderTimeout, MaxHeaderBytes: maxHeader}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	return func() error { return server.Shutdown(context.Background()) }, nil
}

package app

import (
	"errors"

	"sotto/internal/config"
)

// target says which services a process runs.
type target struct {
	name                     string
	user, chat, notification bool
	port                     string // unless the settings name an address
}

var (
	targetServe        = target{"serve", true, true, true, "8080"}
	targetUser         = target{"user", true, false, false, "8081"}
	targetChat         = target{"chat", false, true, false, "8082"}
	targetNotification = target{"notification", false, false, true, "8083"}
)

// separate tells whether other services are in other processes.
func (t target) separate() bool { return !t.user || !t.chat || !t.notification }

// listen is the address for clients.
func (t target) listen(c config.Config) string {
	if c.Listen != "" {
		return c.Listen
	}
	return "127.0.0.1:" + t.port
}

// check refuses settings with which the services could not reach each other.
func (t target) check(c config.Config) error {
	switch {
	case !t.separate():
		return nil
	case !c.Postgres():
		return errors.New("SOTTO_DATABASE_URL is not set; separate services keep their data in PostgreSQL. " +
			"One process with files of its own is sottod serve")
	case c.BrokerURL == "":
		return errors.New("SOTTO_BROKER_URL is not set; separate services exchange events over RabbitMQ")
	case c.RedisURL == "":
		return errors.New("SOTTO_REDIS_URL is not set; separate services wake each other and count limits in Redis")
	case c.ServiceSecret == "":
		return errors.New("SOTTO_SERVICE_SECRET is not set; it signs the calls between separate services. " +
			"Give all of them the same output of openssl rand -base64 32")
	}
	return nil
}

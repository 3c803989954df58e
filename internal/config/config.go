// Package config is the one place where settings come in: flags over environment over env file over defaults. Secrets
// have a _FILE form. A SOTTO_ variable that nothing knows is an error, because a typo must not silently mean a default.
package config

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is every setting of sottod. The setting tag is the name of the variable; flags have the field's name in kebab case.
type Config struct {
	DataDir            string        `setting:"SOTTO_DATA_DIR" placeholder:"DIR" help:"Where everything is kept (0700). Default: ${data_dir}."`
	Listen             string        `setting:"SOTTO_LISTEN" placeholder:"ADDR" help:"Address for clients. Default: 127.0.0.1 and the port 8080 for serve and gateway, 8081 for user, 8082 for chat, 8083 for notification."`
	MetricsListen      string        `setting:"SOTTO_METRICS_LISTEN" placeholder:"ADDR" help:"Private address for /metrics, for example 127.0.0.1:9464. Off when empty."`
	PublicURL          string        `setting:"SOTTO_PUBLIC_URL" placeholder:"URL" help:"How people reach this server. Cookies are Secure when it is https. Default: http:// and the listening address."`
	TrustedProxies     []string      `setting:"SOTTO_TRUSTED_PROXIES" sep:"," placeholder:"PREFIX" help:"Address prefixes whose X-Forwarded-For is believed, for example 127.0.0.1/32."`
	CORSOrigins        []string      `setting:"SOTTO_CORS_ORIGINS" aliases:"CORS_ORIGINS" sep:"," placeholder:"ORIGIN" help:"Other web origins that may call with the cookie."`
	DatabaseURL        Secret        `setting:"SOTTO_DATABASE_URL" aliases:"DATABASE_URL" name:"database-url" placeholder:"URL" help:"A PostgreSQL database (15 or later), for example postgres://login:password@host:5432/sotto?sslmode=verify-full&sslrootcert=ca.pem. Without it SQLite files in the data directory."`
	DatabaseConns      int           `setting:"SOTTO_DATABASE_CONNECTIONS" name:"database-connections" default:"8" placeholder:"N" help:"Connections that each service opens to PostgreSQL at most, half of them for writing (${default})."`
	UnsafeDatabase     bool          `setting:"SOTTO_ALLOW_UNSAFE_DATABASE" name:"allow-unsafe-database" help:"Accept a PostgreSQL whose fsync, full_page_writes or synchronous_commit is off. A crash then loses acknowledged messages."`
	BrokerURL          Secret        `setting:"SOTTO_BROKER_URL" aliases:"MESSAGE_BROKER_URL" name:"broker-url" placeholder:"URL" help:"RabbitMQ (3.10 or later) for events between processes, for example amqps://user:password@host:5671/. Without it events stay within the one process."`
	RedisURL           Secret        `setting:"SOTTO_REDIS_URL" aliases:"REDIS_URL" name:"redis-url" placeholder:"URL" help:"Redis (7 or later) for wake-ups and limits between processes, for example rediss://:password@host:6379/0. Without it each process counts for itself."`
	CAFile             string        `setting:"SOTTO_CA_FILE" name:"ca-file" placeholder:"FILE" help:"Authorities (PEM) to trust for RabbitMQ, Redis and the other services. Default: those of the system. PostgreSQL has sslrootcert in its URL."`
	UserURL            []string      `setting:"SOTTO_USER_URL" name:"user-url" default:"http://127.0.0.1:8081" sep:"," placeholder:"URL" help:"Where the processes of the user service are, for separate services (${default})."`
	ChatURL            []string      `setting:"SOTTO_CHAT_URL" name:"chat-url" default:"http://127.0.0.1:8082" sep:"," placeholder:"URL" help:"Where the processes of the chat service are (${default})."`
	NotificationURL    []string      `setting:"SOTTO_NOTIFICATION_URL" name:"notification-url" default:"http://127.0.0.1:8083" sep:"," placeholder:"URL" help:"Where the processes of the notification service are (${default})."`
	DrainDelay         time.Duration `setting:"SOTTO_DRAIN_DELAY" name:"drain-delay" default:"0s" placeholder:"TIME" help:"How long a stopping process still takes requests while /readyz already says no, for load balancers that ask it (${default})."`
	LogLevel           string        `setting:"SOTTO_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"How much to log to standard error (${enum})."`
	LogFormat          string        `setting:"SOTTO_LOG_FORMAT" default:"text" enum:"text,json" help:"Form of log lines (${enum})."`
	SMTPHost           string        `setting:"SOTTO_SMTP_HOST" aliases:"SMTP_HOST" name:"smtp-host" placeholder:"HOST" help:"Mail server that takes this server's mail. Without it, and without SOTTO_MAIL_API_URL, there is no mail."`
	SMTPPort           int           `setting:"SOTTO_SMTP_PORT" aliases:"SMTP_PORT" name:"smtp-port" default:"587" placeholder:"N" help:"Its port (${default})."`
	SMTPTLS            string        `setting:"SOTTO_SMTP_TLS" name:"smtp-tls" default:"starttls" enum:"starttls,implicit,opportunistic,none" help:"How the connection is protected (${enum}). none is for a mail server on the same machine."`
	SMTPUser           string        `setting:"SOTTO_SMTP_USER" aliases:"SMTP_USER" name:"smtp-user" placeholder:"NAME" help:"Name to sign in with at the mail server."`
	SMTPPassword       Secret        `setting:"SOTTO_SMTP_PASSWORD" aliases:"SMTP_PASSWORD" name:"smtp-password" placeholder:"SECRET" help:"Password to sign in with at the mail server."`
	SMTPFrom           string        `setting:"SOTTO_SMTP_FROM" aliases:"SMTP_FROM" name:"smtp-from" placeholder:"ADDRESS" help:"Sender of mail, whichever way it leaves, for example Sotto <no-reply@example.org>."`
	MailAPIURL         string        `setting:"SOTTO_MAIL_API_URL" name:"mail-api-url" placeholder:"URL" help:"Mail provider that takes this server's mail over HTTP in the form of Brevo, instead of a mail server: https://api.brevo.com/v3/smtp/email."`
	MailAPIKey         Secret        `setting:"SOTTO_MAIL_API_KEY" name:"mail-api-key" placeholder:"SECRET" help:"Its key."`
	MailLogo           string        `setting:"SOTTO_MAIL_LOGO" name:"mail-logo" placeholder:"FILE" help:"Picture at the top of mails, a PNG, JPEG or WebP of at most 256 KiB and 1000 pixels a side. Everybody may read it, and whoever loads it shows this server that the mail was opened. Without it mails have none."`
	Contact            string        `setting:"SOTTO_CONTACT" placeholder:"ADDRESS" help:"Your address for push services, for when this server misbehaves. Default: the public URL."`
	PushLocal          bool          `setting:"SOTTO_PUSH_LOCAL" name:"push-local" help:"Let push messages go to private and loopback addresses and to http URLs, for a push service in your own network."`
	FCMCredentials     Secret        `setting:"SOTTO_FCM_CREDENTIALS" name:"fcm-credentials" placeholder:"JSON" help:"Key of a service account of your Firebase project, as Firebase hands it out. With it apps of that project may take push messages through FCM."`
	JWTSecret          Secret        `setting:"SOTTO_JWT_SECRET" aliases:"JWT_SECRET" placeholder:"SECRET" help:"Signs logins. At least 32 characters. Made and kept in the data directory when not given."`
	ServiceSecret      Secret        `setting:"SOTTO_SERVICE_SECRET" placeholder:"SECRET" help:"Signs the calls between separate services. The same for all of them."`
	Pepper             Secret        `setting:"SOTTO_PEPPER" placeholder:"SECRET" help:"Under the stored password verifiers; of the user service. Without it nobody can sign in any more."`
	FakeSecret         Secret        `setting:"SOTTO_FAKE_SECRET" placeholder:"SECRET" help:"Makes answers for unknown names; of the user service. Follows from the pepper when not given."`
	AttemptKey         Secret        `setting:"SOTTO_ATTEMPT_KEY" placeholder:"SECRET" help:"Seals sign-in attempts; of the user service. Follows from the pepper when not given."`
	FrankingKey        Secret        `setting:"SOTTO_FRANKING_KEY" placeholder:"SECRET" help:"Makes the tags by which reports are checked; of the chat service. A number and a secret, for example 1:SECRET; older ones before it, with commas."`
	AssetStore         string        `setting:"SOTTO_ASSET_STORE" name:"asset-store" default:"disk" placeholder:"STORE" help:"Where files that people share are kept: disk (the folder assets of the data directory), s3://BUCKET?endpoint=https://…&region=…, or cloudinary://CLOUD (${default})."`
	AssetKey           Secret        `setting:"SOTTO_ASSET_KEY" name:"asset-key" placeholder:"KEY" help:"Name of the key for S3 or Cloudinary."`
	AssetSecret        Secret        `setting:"SOTTO_ASSET_SECRET" name:"asset-secret" placeholder:"SECRET" help:"Its secret."`
	AssetQuota         int64         `setting:"SOTTO_ASSET_QUOTA" name:"asset-quota" default:"268435456" placeholder:"BYTES" help:"How many bytes of files one account may have (${default})."`
	NotificationSecret Secret        `setting:"SOTTO_NOTIFICATION_SECRET" placeholder:"SECRET" help:"Under the keys that push services and mails know this server by; of the notification service."`
}

// Secret is a value that never prints.
type Secret string

const hidden = "[secret]"

// String hides the value wherever it might be printed.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

const minSecret = 32 // characters

// Validate checks what belongs together and fills what depends on the machine. Every error says what to write instead.
func (c *Config) Validate() error {
	if c.DataDir == "" {
		c.DataDir = DefaultDataDir()
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("data directory %q: %w", c.DataDir, err)
	}
	c.DataDir = abs
	for _, a := range []struct{ name, value string }{{"SOTTO_LISTEN", c.Listen}, {"SOTTO_METRICS_LISTEN", c.MetricsListen}} {
		if err := checkAddress(a.name, a.value); err != nil {
			return err
		}
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("SOTTO_PUBLIC_URL is %q; write it like https://chat.example.org", c.PublicURL)
		}
	}
	if err := c.checkDatabase(); err != nil {
		return err
	}
	if c.JWTSecret != "" && len(c.JWTSecret) < minSecret {
		return fmt.Errorf("SOTTO_JWT_SECRET has %d characters; use at least %d, or leave it out and one is made", len(c.JWTSecret), minSecret)
	}
	if err := c.checkOthers(); err != nil {
		return err
	}
	if err := c.checkMail(); err != nil {
		return err
	}
	if err := c.checkAssets(); err != nil {
		return err
	}
	if _, err := c.FCM(); err != nil {
		return err
	}
	_, err = c.Proxies()
	return err
}

// checkMail checks the one way that mail leaves by.
func (c *Config) checkMail() error {
	switch {
	case c.SMTPHost != "" && c.MailAPIURL != "":
		return errors.New("both SOTTO_SMTP_HOST and SOTTO_MAIL_API_URL are set; mail leaves one way, keep one of them")
	case c.MailAPIURL == "" && c.MailAPIKey != "":
		return errors.New("SOTTO_MAIL_API_KEY is set without SOTTO_MAIL_API_URL; " +
			"add the URL, for example https://api.brevo.com/v3/smtp/email, or leave both out")
	case c.MailAPIURL != "" && c.MailAPIKey == "":
		return errors.New("SOTTO_MAIL_API_URL is set without SOTTO_MAIL_API_KEY; add the key of your provider, or leave both out")
	case c.MailAPIURL != "" && !keepsKeys(c.MailAPIURL):
		// The value is not repeated: somebody may have put the key into it.
		return errors.New("SOTTO_MAIL_API_URL is no https URL without password, query and fragment; " +
			"write it like https://api.brevo.com/v3/smtp/email")
	case c.SMTPHost == "" && c.MailAPIURL == "":
		return nil
	}
	if _, err := mail.ParseAddress(c.SMTPFrom); err != nil {
		return fmt.Errorf("SOTTO_SMTP_FROM is %q; where there is mail it is the sender, for example Sotto <no-reply@example.org>", c.SMTPFrom)
	}
	if c.SMTPPort < 1 || c.SMTPPort > 65535 {
		return fmt.Errorf("SOTTO_SMTP_PORT is %d; ports are 1 to 65535", c.SMTPPort)
	}
	return nil
}

// keepsKeys tells that a request to the URL shows its key to nobody in between: https, or a provider on this machine.
func keepsKeys(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return false
	}
	at, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || (u.Scheme == "http" && err == nil && at.IsLoopback())
}

const minConnections, maxConnections = 2, 100 // of each service to PostgreSQL

func (c *Config) checkDatabase() error {
	if u := string(c.DatabaseURL); u != "" && !strings.HasPrefix(u, "postgres://") && !strings.HasPrefix(u, "postgresql://") {
		return errors.New("SOTTO_DATABASE_URL does not begin with postgres://; " +
			"write postgres://login:password@host:5432/database, or leave it out for SQLite in the data directory")
	}
	if c.DatabaseConns < minConnections || c.DatabaseConns > maxConnections {
		return fmt.Errorf("SOTTO_DATABASE_CONNECTIONS is %d; use %d to %d", c.DatabaseConns, minConnections, maxConnections)
	}
	return nil
}

// checkOthers checks where the other parts of a server of several processes are, and what they share.
func (c *Config) checkOthers() error {
	for _, u := range []struct {
		name, value string
		schemes     []string
		example     string
	}{
		{"SOTTO_BROKER_URL", string(c.BrokerURL), []string{"amqp", "amqps"}, "amqp://user:password@host:5672/"},
		{"SOTTO_REDIS_URL", string(c.RedisURL), []string{"redis", "rediss"}, "redis://:password@host:6379/0"},
	} {
		// An error of url.Parse would repeat the password.
		if parsed, err := url.Parse(u.value); u.value != "" && (err != nil || !slices.Contains(u.schemes, parsed.Scheme) || parsed.Host == "") {
			return fmt.Errorf("%s cannot be read; write it like %s", u.name, u.example)
		}
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"SOTTO_USER_URL", c.UserURL}, {"SOTTO_CHAT_URL", c.ChatURL}, {"SOTTO_NOTIFICATION_URL", c.NotificationURL}} {
		for i, v := range list.values {
			u, err := url.Parse(v)
			if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
				return fmt.Errorf("%s contains %q; write addresses like http://10.0.0.5:8081", list.name, v)
			}
			list.values[i] = strings.TrimRight(v, "/")
		}
	}
	for _, s := range []struct {
		name  string
		value Secret
	}{
		{"SOTTO_SERVICE_SECRET", c.ServiceSecret}, {"SOTTO_PEPPER", c.Pepper}, {"SOTTO_FAKE_SECRET", c.FakeSecret},
		{"SOTTO_ATTEMPT_KEY", c.AttemptKey}, {"SOTTO_NOTIFICATION_SECRET", c.NotificationSecret},
	} {
		if s.value != "" && len(s.value) < minSecret {
			return fmt.Errorf("%s has %d characters; use at least %d, for example of openssl rand -base64 32", s.name, len(s.value), minSecret)
		}
	}
	if c.DrainDelay < 0 || c.DrainDelay > maxDrainDelay {
		return fmt.Errorf("SOTTO_DRAIN_DELAY is %v; use 0s to %v", c.DrainDelay, maxDrainDelay)
	}
	return nil
}

const maxDrainDelay = time.Minute

const minAssetQuota, maxAssetQuota = 16 << 20, 1 << 40 // bytes; the largest asset has to fit

func (c *Config) checkAssets() error {
	u, err := url.Parse(c.AssetStore)
	const forms = "write disk, s3://BUCKET?endpoint=https://s3.example.org&region=REGION or cloudinary://CLOUD"
	switch {
	case err != nil || u.User != nil: // which may hold the secret
		return errors.New("SOTTO_ASSET_STORE cannot be read; " + forms + ", with the key in SOTTO_ASSET_KEY and SOTTO_ASSET_SECRET")
	case c.AssetStore == "disk":
	case u.Scheme != "s3" && u.Scheme != "cloudinary", u.Hostname() == "", u.Port() != "", u.Path != "", u.Fragment != "",
		!knownSettings(u):
		return fmt.Errorf("SOTTO_ASSET_STORE is %q; %s", c.AssetStore, forms)
	case c.AssetKey == "" || c.AssetSecret == "":
		return errors.New("SOTTO_ASSET_KEY or SOTTO_ASSET_SECRET is not set; SOTTO_ASSET_STORE needs both")
	}
	if c.AssetQuota < minAssetQuota || c.AssetQuota > maxAssetQuota {
		return fmt.Errorf("SOTTO_ASSET_QUOTA is %d; use %d to %d bytes", c.AssetQuota, minAssetQuota, maxAssetQuota)
	}
	return nil
}

// knownSettings keeps a misspelled setting from standing for its default.
func knownSettings(store *url.URL) bool {
	settings, err := url.ParseQuery(store.RawQuery)
	for name, values := range settings {
		if store.Scheme != "s3" || (name != "endpoint" && name != "region") || len(values) != 1 {
			return false
		}
	}
	return err == nil
}

// Postgres tells whether the data is in PostgreSQL.
func (c *Config) Postgres() bool { return c.DatabaseURL != "" }

func checkAddress(name, value string) error {
	if value == "" {
		return nil
	}
	host, port, ok := strings.Cut(value, ":")
	if i := strings.LastIndex(value, ":"); i >= 0 {
		host, port, ok = value[:i], value[i+1:], true
	}
	if !ok || port == "" || strings.ContainsAny(host, " /") {
		return fmt.Errorf("%s is %q; write host:port, for example 127.0.0.1:8080", name, value)
	}
	return nil
}

// Proxies parses TrustedProxies.
func (c *Config) Proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range c.TrustedProxies {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("SOTTO_TRUSTED_PROXIES contains %q; write prefixes like 10.0.0.0/8 or 127.0.0.1/32", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// Secure tells whether clients come through TLS.
func (c *Config) Secure() bool { return strings.HasPrefix(c.PublicURL, "https://") }

// DefaultDataDir is /var/lib/sottod for root and the user's data directory for everyone else.
func DefaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/sottod"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sottod")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "sottod-data"
	}
	return filepath.Join(home, ".local", "share", "sottod")
}

package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"sotto/internal/config"
	"sotto/internal/notification/notificationtest"
)

// parse runs the same parser as sottod.
func parse(t *testing.T, environ []string, envFile string, args ...string) (config.Config, error) {
	t.Helper()
	env, err := config.LoadEnvironment(environ, envFile)
	if err != nil {
		return config.Config{}, err
	}
	var c config.Config
	p, err := kong.New(&c, kong.Resolvers(env.Resolver()), kong.Vars{"data_dir": "X"}, kong.Exit(func(int) { t.Fatal("exit") }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse(args); err != nil {
		return c, err
	}
	return c, c.Validate()
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsOverEnvironmentOverFileOverDefaults(t *testing.T) {
	file := write(t, "# comment\nexport SOTTO_LISTEN=127.0.0.1:1\nSOTTO_LOG_LEVEL=\"warn\"\nSOTTO_LOG_FORMAT=json\n")
	got, err := parse(t, []string{"SOTTO_LISTEN=127.0.0.1:2", "SOTTO_LOG_LEVEL=error", "HOME=/nowhere", "SOTTO_TRUSTED_PROXIES=10.0.0.0/8,::1/128"},
		file, "--listen=127.0.0.1:3", "--data-dir=/d")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{DataDir: "/d", Listen: "127.0.0.1:3", LogLevel: "error", LogFormat: "json", DatabaseConns: 8, AssetStore: "disk", AssetQuota: 256 << 20, SMTPPort: 587, SMTPTLS: "starttls",
		UserURL: []string{"http://127.0.0.1:8081"}, ChatURL: []string{"http://127.0.0.1:8082"},
		NotificationURL: []string{"http://127.0.0.1:8083"}, TrustedProxies: []string{"10.0.0.0/8", "::1/128"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSecretsComeFromFilesAndAliasesAndNeverPrint(t *testing.T) {
	secret := strings.Repeat("canary-", 6)
	path := write(t, secret+"\n")
	for _, environ := range [][]string{{"SOTTO_JWT_SECRET_FILE=" + path}, {"JWT_SECRET_FILE=" + path}, {"JWT_SECRET=" + secret}, {"SOTTO_JWT_SECRET=" + secret, "JWT_SECRET=other"}} {
		c, err := parse(t, environ, "")
		if err != nil || string(c.JWTSecret) != secret {
			t.Errorf("%v: %v", environ, err)
		}
		if printed := strings.Join(c.Lines(), "\n"); strings.Contains(printed, "canary") || !strings.Contains(printed, "SOTTO_JWT_SECRET=[secret]") {
			t.Error(printed)
		}
	}
}

func TestBadSettingsAreRefusedWithASentence(t *testing.T) {
	for want, environ := range map[string][]string{
		"did you mean SOTTO_LISTEN?":          {"SOTTO_LISTN=127.0.0.1:1"},
		"means nothing":                       {"SOTTO_LISTEN_FILE=/x"},
		"both SOTTO_JWT_SECRET":               {"SOTTO_JWT_SECRET=a", "SOTTO_JWT_SECRET_FILE=/x"},
		"at least 32":                         {"SOTTO_JWT_SECRET=changeme"},
		"write host:port":                     {"SOTTO_LISTEN=8080"},
		"https://chat.example.org":            {"SOTTO_PUBLIC_URL=chat.example.org"},
		"write prefixes like":                 {"SOTTO_TRUSTED_PROXIES=localhost"},
		"write postgres://":                   {"DATABASE_URL=mysql://host/sotto"},
		"SOTTO_ASSET_STORE is":                {"SOTTO_ASSET_STORE=ftp://host"},
		"SOTTO_ASSET_STORE cannot be read":    {"SOTTO_ASSET_STORE=s3://key:secret@bucket", "SOTTO_ASSET_KEY=a", "SOTTO_ASSET_SECRET=b"},
		"SOTTO_ASSET_SECRET is not set":       {"SOTTO_ASSET_STORE=cloudinary://cloud", "SOTTO_ASSET_KEY=a"},
		`"s3://bucket?endpont=https://h"`:     {"SOTTO_ASSET_STORE=s3://bucket?endpont=https://h", "SOTTO_ASSET_KEY=a", "SOTTO_ASSET_SECRET=b"},
		`"s3://bucket?region=a&region=b"`:     {"SOTTO_ASSET_STORE=s3://bucket?region=a&region=b", "SOTTO_ASSET_KEY=a", "SOTTO_ASSET_SECRET=b"},
		`"s3://host/bucket"`:                  {"SOTTO_ASSET_STORE=s3://host/bucket", "SOTTO_ASSET_KEY=a", "SOTTO_ASSET_SECRET=b"},
		`"s3://bucket:9000"`:                  {"SOTTO_ASSET_STORE=s3://bucket:9000", "SOTTO_ASSET_KEY=a", "SOTTO_ASSET_SECRET=b"},
		`"cloudinary://cloud?region=eu"`:      {"SOTTO_ASSET_STORE=cloudinary://cloud?region=eu", "SOTTO_ASSET_KEY=a", "SOTTO_ASSET_SECRET=b"},
		`"s3://"`:                             {"SOTTO_ASSET_STORE=s3://", "SOTTO_ASSET_KEY=a", "SOTTO_ASSET_SECRET=b"},
		"SOTTO_ASSET_QUOTA is 5":              {"SOTTO_ASSET_QUOTA=5"},
		"use 2 to 100":                        {"SOTTO_DATABASE_CONNECTIONS=1"},
		"cannot be read; write it like amqp":  {"SOTTO_BROKER_URL=http://user:hush@host/"},
		"cannot be read; write it like redis": {"REDIS_URL=redis:hush"},
		"write addresses like":                {"SOTTO_CHAT_URL=http://10.0.0.1:8082,10.0.0.2:8082"},
		"openssl rand -base64 32":             {"SOTTO_PEPPER=hush"},
		"use 0s to 1m":                        {"SOTTO_DRAIN_DELAY=2h"},
		"keep one of them":                    {"SOTTO_SMTP_HOST=m", "SOTTO_SMTP_FROM=a@b.c", "SOTTO_MAIL_API_URL=https://api/x", "SOTTO_MAIL_API_KEY=k"},
		"without SOTTO_MAIL_API_URL":          {"SOTTO_MAIL_API_KEY=k"},
		"without SOTTO_MAIL_API_KEY":          {"SOTTO_MAIL_API_URL=https://api/x"},
		"where there is mail it is":           {"SOTTO_MAIL_API_URL=https://api/x", "SOTTO_MAIL_API_KEY=k"},
		"must be one of":                      {"SOTTO_LOG_LEVEL=loud"},
		"SOTTO_JWT_SECRET_FILE: stat /":       {"SOTTO_JWT_SECRET_FILE=/nowhere/at/all"},
	} {
		if _, err := parse(t, environ, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", environ, err, want)
		}
	}
	if _, err := parse(t, nil, "/nowhere/at/all"); err == nil {
		t.Error("an env file that was asked for is missing")
	}
	if _, err := parse(t, nil, write(t, "no equals sign")); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Error(err)
	}
	if _, err := parse(t, nil, write(t, strings.Repeat("A=b\n", 20_000))); err == nil {
		t.Error("an env file of 80 kB was read")
	}
}

// TestMailAPIKeepsItsKey: it comes from a file, never prints, and goes through TLS or stays on this machine.
func TestMailAPIKeepsItsKey(t *testing.T) {
	key := write(t, "canary\n")
	for u, fits := range map[string]bool{
		"https://api.brevo.com/v3/smtp/email": true, "http://127.0.0.1:8000/x": true, "http://[::1]/x": true,
		"http://api.brevo.com/v3/smtp/email": false, "http://localhost/x": false, "http://10.0.0.1/x": false, "https://": false,
		"https://api/x?key=canary": false, "https://canary@api/x": false, "https://api/x#canary": false, "api.brevo.com": false,
	} {
		c, err := parse(t, []string{"SOTTO_MAIL_API_URL=" + u, "SOTTO_MAIL_API_KEY_FILE=" + key, "SOTTO_SMTP_FROM=a@example.org"}, "")
		if (err == nil) != fits || (err != nil && strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v", u, err)
		}
		if printed := strings.Join(c.Lines(), "\n"); fits && (c.MailAPIKey != "canary" || strings.Contains(printed, "canary")) {
			t.Errorf("%s: %s", u, printed)
		}
	}
}

// TestFCMCredentialsAreRead from a file or the variable, never print, and are refused with a sentence that repeats nothing.
func TestFCMCredentialsAreRead(t *testing.T) {
	good := notificationtest.FCMCredentials("https://oauth2.googleapis.com/token")
	for _, environ := range [][]string{{"SOTTO_FCM_CREDENTIALS_FILE=" + write(t, good+"\n")}, {"SOTTO_FCM_CREDENTIALS=" + good}} {
		c, err := parse(t, environ, "")
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.FCM()
		if err != nil || a.Project != notificationtest.FCMProject || a.Email != notificationtest.FCMEmail || a.KeyID != notificationtest.FCMKeyID ||
			!strings.HasPrefix(string(a.Key), "-----BEGIN PRIVATE KEY-----\n") || a.TokenURL != "https://oauth2.googleapis.com/token" {
			t.Errorf("%+v, %v", a, err)
		}
		for _, printed := range []string{strings.Join(c.Lines(), "\n"), fmt.Sprintf("%v %+v %#v", a, a, a)} {
			if strings.Contains(printed, "PRIVATE") {
				t.Error(printed)
			}
		}
		if !strings.Contains(strings.Join(c.Lines(), "\n"), "SOTTO_FCM_CREDENTIALS=[secret]") {
			t.Error(c.Lines())
		}
	}
	if a, err := (&config.Config{}).FCM(); a != nil || err != nil {
		t.Errorf("without: %v, %v", a, err)
	}

	changed := func(name string, value any) string {
		var all map[string]any
		if err := json.Unmarshal([]byte(good), &all); err != nil {
			t.Fatal(err)
		}
		if all[name] = value; value == nil {
			delete(all, name)
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	encoded := func(typ string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	elliptic8, err := x509.MarshalPKCS8PrivateKey(curve)
	other := encoded("PRIVATE KEY", elliptic8, err)
	for name, c := range map[string]struct{ content, want string }{
		"no JSON":           {"canary", "no JSON object"},
		"a path":            {"/run/secrets/canary.json", "no JSON object"},
		"an array":          {"[" + good + "]", "no JSON object"},
		"cut":               {good[:len(good)-1], "no JSON object"},
		"a number":          {changed("project_id", 4711), "no JSON object"},
		"empty":             {"{}", "has no project_id"},
		"no project":        {changed("project_id", nil), "has no project_id"},
		"no key id":         {changed("private_key_id", nil), "has no private_key_id"},
		"no key":            {changed("private_key", nil), "has no private_key;"},
		"no address":        {changed("client_email", ""), "has no client_email"},
		"no token endpoint": {changed("token_uri", nil), "has no token_uri"},
		"project is a path": {changed("project_id", "../canary"), "project_id that is none"},
		"plain http":        {changed("token_uri", "http://canary.example.org/token"), "no https URL"},
		"key is no PEM":     {changed("private_key", "canary"), "no RSA key"},
		"key is broken":     {changed("private_key", encoded("PRIVATE KEY", []byte("canary"), nil)), "no RSA key"},
		"key is elliptic":   {changed("private_key", other), "no RSA key"},
		"key is short":      {changed("private_key", encoded("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small), nil)), "no RSA key"},
	} {
		_, err := parse(t, []string{"SOTTO_FCM_CREDENTIALS=" + c.content}, "")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "service accounts") {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "PRIVATE") || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: repeats what it was given: %v", name, err)
		}
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add("SOTTO_LISTEN=127.0.0.1:1\n# x\nexport A='b'\n")
	f.Fuzz(func(t *testing.T, content string) {
		path := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = config.LoadEnvironment(nil, path)
	})
}

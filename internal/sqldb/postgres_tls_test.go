package sqldb_test

import (
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"

	"sotto/internal/testenv"
)

// TestPostgresVerifyFull: with the authority's file the server is known, without it it is not.
func TestPostgresVerifyFull(t *testing.T) {
	// Not below the folder of the test, which only its owner may enter.
	dir, err := os.MkdirTemp("", "sotto-tls-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	certs, err := testenv.NewCertificates(dir)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		giveToPostgres(t, dir, certs.CA, certs.Cert, certs.Key)
	}
	p := cluster(t, "ssl=on", "ssl_cert_file="+certs.Cert, "ssl_key_file="+certs.Key)
	at := func(options url.Values) string {
		return with(t, p.URL("sotto"), func(u *url.URL) { u.RawQuery = options.Encode() })
	}
	if _, err := openAs(t, at(url.Values{"sslmode": {"verify-full"}, "sslrootcert": {certs.CA}})); err != nil {
		t.Error(err)
	}
	if _, err := openAs(t, at(url.Values{"sslmode": {"verify-full"}})); err == nil || !strings.Contains(err.Error(), "sslrootcert") {
		t.Errorf("an authority that the system does not trust: %v", err)
	}
}

// giveToPostgres lets the server, which does not run as root, read its key.
func giveToPostgres(t *testing.T, names ...string) {
	t.Helper()
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(account.Uid) // of Linux: a number
	gid, _ := strconv.Atoi(account.Gid)
	for _, name := range names {
		if err := os.Chown(name, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

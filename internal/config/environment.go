package config

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
)

const (
	prefix      = "SOTTO_"
	fileSuffix  = "_FILE"
	defaultFile = "/run/secrets/app_secrets"
	maxFile     = 64 << 10 // bytes of an env file or a secret file
)

// Environment is the settings from outside the command line, by variable name. Aliases and _FILE forms are resolved.
type Environment map[string]string

// LoadEnvironment reads the env file, if any, and the process environment over it. An empty envFile stands for the
// default one, which need not exist.
func LoadEnvironment(environ []string, envFile string) (Environment, error) {
	raw := map[string]string{}
	optional := envFile == ""
	if optional {
		envFile = defaultFile
	}
	err := readEnvFile(envFile, raw)
	if err != nil && (!optional || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			raw[name] = value
		}
	}
	return resolve(raw)
}

// readEnvFile understands NAME=value lines, comments and simple quotes, as container runtimes write them.
func readEnvFile(path string, into map[string]string) error {
	b, err := readBounded(path, maxFile)
	if err != nil {
		return fmt.Errorf("reading the env file: %w", err)
	}
	lines := bufio.NewScanner(strings.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export ")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("%s line %d: want NAME=value", path, n)
		}
		into[strings.TrimSpace(name)] = unquote(strings.TrimSpace(value))
	}
	return lines.Err()
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

func readBounded(path string, most int64) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > most {
		return "", fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), most)
	}
	b, err := os.ReadFile(path)
	return string(b), err
}

// resolve keeps what a field knows, under the field's own name, and refuses unknown SOTTO_ variables.
func resolve(raw map[string]string) (Environment, error) {
	env := Environment{}
	known := map[string]bool{}
	for _, f := range fields() {
		for _, name := range f.names {
			known[name], known[name+fileSuffix] = true, f.secret
			value, given := raw[name]
			if path := raw[name+fileSuffix]; path != "" && f.secret {
				if given {
					return nil, fmt.Errorf("both %s and %s%s are set; keep one", name, name, fileSuffix)
				}
				content, err := readBounded(path, maxFile)
				if err != nil {
					return nil, fmt.Errorf("%s%s: %w", name, fileSuffix, err)
				}
				value, given = strings.TrimRight(content, "\r\n"), true
			}
			if _, taken := env[f.names[0]]; given && !taken {
				env[f.names[0]] = value
			}
		}
	}
	for name := range raw {
		if strings.HasPrefix(name, prefix) && !known[name] {
			return nil, fmt.Errorf("%s is set but means nothing to sottod; see `sottod config` for the names%s", name, nearest(name, known))
		}
	}
	return env, nil
}

type field struct {
	names  []string // the SOTTO_ name first, then aliases
	secret bool
}

func fields() []field {
	var out []field
	for f := range reflect.TypeFor[Config]().Fields() {
		names := []string{f.Tag.Get("setting")}
		if a := f.Tag.Get("aliases"); a != "" {
			names = append(names, a)
		}
		out = append(out, field{names: names, secret: f.Type == reflect.TypeFor[Secret]()})
	}
	return out
}

// nearest helps with typos: a known name that shares the longest beginning with the unknown one.
func nearest(name string, known map[string]bool) string {
	best, length := "", len(prefix)+2
	for _, k := range sortedKeys(known) {
		n := 0
		for n < len(k) && n < len(name) && k[n] == name[n] {
			n++
		}
		if n > length {
			best, length = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

func sortedKeys(m map[string]bool) []string {
	var keys []string
	for k, v := range m {
		if v {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// Lines prints the effective settings for `sottod config`, secrets hidden.
func (c *Config) Lines() []string {
	var out []string
	v := reflect.ValueOf(*c)
	for f, value := range v.Fields() {
		text := fmt.Sprint(value.Interface())
		if list, ok := value.Interface().([]string); ok {
			text = strings.Join(list, ",")
		}
		out = append(out, f.Tag.Get("setting")+"="+text)
	}
	return out
}

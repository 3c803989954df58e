package config

import (
	"fmt"

	"github.com/alecthomas/kong"
)

// Resolver lets the command line parser find settings in the environment, between flags and defaults.
func (env Environment) Resolver() kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if value, ok := env[flag.Tag.Get("setting")]; ok && flag.Tag.Has("setting") {
			return value, nil
		}
		return nil, nil //nolint:nilnil // kong's way to say "not here"
	})
}

// Help makes the help text of a flag name its variable.
func Help(v *kong.Value) string {
	name := v.Tag.Get("setting")
	if name == "" {
		return v.Help
	}
	if v.Tag.Has("aliases") {
		name += ", " + v.Tag.Get("aliases")
	}
	return fmt.Sprintf("%s ($%s)", v.Help, name)
}

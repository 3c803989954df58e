package app

import "sotto/api"

// Version names the program and its release, as in GET /api/info.
func Version() string { return "sottod " + api.Version }

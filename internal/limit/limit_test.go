package limit_test

import (
	"testing"
	"time"

	"sotto/internal/limit"
)

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		rate limit.Rate
		ok   bool
	}{
		"usual":             {limit.Rate{Count: 10, Per: time.Minute, Burst: 5}, true},
		"zero value":        {limit.Rate{}, false},
		"no burst":          {limit.Rate{Count: 10, Per: time.Minute}, false},
		"negative":          {limit.Rate{Count: -1, Per: time.Minute, Burst: 1}, false},
		"no time":           {limit.Rate{Count: 1, Burst: 1}, false},
		"faster than clock": {limit.Rate{Count: 1000, Per: time.Nanosecond, Burst: 1}, false},
		"year to fill":      {limit.Rate{Count: 1, Per: 24 * time.Hour, Burst: 365}, false},
		"overflow":          {limit.Rate{Count: 1, Per: 1 << 62, Burst: 1}, false},
	} {
		if err := c.rate.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Package redis counts rate limits for all processes together, in Redis 6 and later.
//
// While Redis is away a rate that is Open is counted by each process for itself; any other is refused: whoever guesses
// passwords must not gain from making Redis fail.
package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/limit"
	"sotto/internal/limit/local"
)

const (
	keyPrefix = "sotto:limit:"
	// answerTime is how long one action waits for Redis at most.
	answerTime = 500 * time.Millisecond
	// awayFor is how long Redis is not asked again after it failed for an open rate, so that not every request waits.
	awayFor = time.Second
)

// allow is the generic cell rate algorithm of limit/local in microseconds. It keeps one number for each key: the time
// when its bucket would be full again, and the key leaves when that time has come. The clock is the caller's.
var allow = redis.NewScript(`
local now, step, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
local wait = full - now - step * (burst - 1)
if wait > 0 then return wait end
full = full + step
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
return 0
`)

// Limiter is safe for concurrent use.
type Limiter struct {
	client *redis.Client
	now    func() time.Time
	log    *slog.Logger
	rates  map[limit.Name]limit.Rate
	alone  *local.Limiter
	until  atomic.Int64 // nanoseconds since 1970: Redis is not asked before, for open rates
}

// New makes a limiter for these names. Rates are fixed for its life. A nil logger means silence.
func New(client *redis.Client, now func() time.Time, rates map[limit.Name]limit.Rate, logger *slog.Logger) (*Limiter, error) {
	alone, err := local.New(now, rates)
	if err != nil {
		return nil, err
	}
	return &Limiter{
		client: client, now: now, log: cmp.Or(logger, slog.New(slog.DiscardHandler)), rates: maps.Clone(rates), alone: alone,
	}, nil
}

var errAway = errs.New(errs.Unavailable, api.CodeUnavailable,
	"The server cannot check this at the moment. Try again in a little while.").WithRetryAfter(2 * time.Second)

// Allow counts one action of key and tells whether it may happen now. If not, it may happen after retryAfter. An unknown
// name is an error: the caller refuses.
func (l *Limiter) Allow(ctx context.Context, name limit.Name, key string) (retryAfter time.Duration, ok bool, err error) {
	rate, known := l.rates[name]
	if !known {
		return 0, false, fmt.Errorf("limit %q has no rate", string(name))
	}
	if len(key) > limit.MaxKey {
		return 0, false, errors.New("limit key of more than 256 bytes")
	}
	now := l.now()
	if rate.Open && now.UnixNano() < l.until.Load() {
		return l.alone.Allow(ctx, name, key)
	}
	wait, err := l.ask(ctx, rate, keyPrefix+string(name)+":"+key, now)
	if err == nil {
		return wait, wait == 0, nil
	}
	if ctx.Err() != nil {
		return 0, false, ctx.Err()
	}
	l.log.WarnContext(ctx, "limits are not counted in Redis", slog.String("limit", string(name)), slog.Any("err", err))
	if !rate.Open {
		return 0, false, errAway.Because(err)
	}
	l.until.Store(now.Add(awayFor).UnixNano())
	return l.alone.Allow(ctx, name, key)
}

func (l *Limiter) ask(ctx context.Context, rate limit.Rate, key string, now time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	step := (rate.Every() + time.Microsecond - 1).Microseconds() // rounded up: never more than the rate
	wait, err := allow.Run(ctx, l.client, []string{key}, now.UnixMicro(), step, rate.Burst).Int64()
	return time.Duration(wait) * time.Microsecond, err
}

package errs_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/errs"
)

func TestProblemNeverShowsTheCause(t *testing.T) {
	cause := errors.New("pq: password of the database")
	for name, err := range map[string]error{
		"unknown": cause,
		"wrapped": errs.Wrap("storing the message", errs.Invalidf("Too long.").Because(cause)),
	} {
		p := errs.Problem(err, "r1")
		if strings.Contains(p.Detail, "password") || p.Code == "" || p.Status == 0 || p.Title == "" || p.RequestID != "r1" {
			t.Errorf("%s: %+v", name, p)
		}
		if !strings.Contains(err.Error(), "password") {
			t.Errorf("%s: the log would not show the cause: %v", name, err)
		}
	}
}

func TestEveryKindHasAStatus(t *testing.T) {
	for kind := errs.Internal; kind <= errs.UpgradeRequired; kind++ {
		p := errs.Problem(errs.New(kind, "code", "Sentence."), "")
		if http.StatusText(p.Status) == "" || (kind != errs.Internal && p.Status == http.StatusInternalServerError) {
			t.Errorf("kind %d has status %d", kind, p.Status)
		}
	}
}

func TestCopiesLeaveTheOriginalAlone(t *testing.T) {
	base := errs.Conflictf("Moved on.")
	full := base.WithDetails(map[string]int{"version": 3}).WithRetryAfter(1500 * time.Millisecond).Because(errors.New("x"))
	p := errs.Problem(errs.Wrap("writing", full), "")
	if string(p.Details) != `{"version":3}` || p.RetryAfter != 2 || p.Status != http.StatusConflict {
		t.Errorf("%+v", p)
	}
	if base.Details != nil || base.RetryAfter != 0 || base.Err != nil {
		t.Errorf("the original changed: %+v", base)
	}
	if !errs.Is(errs.Wrap("writing", full), api.CodeConflict) || errs.Is(errors.New("x"), api.CodeConflict) || errs.Wrap("x", nil) != nil {
		t.Error("Is or Wrap")
	}
}

package notification

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/token"
)

// Logo is the picture at the top of mails. It is published under its hash, so that another one gets another address and
// mails of before keep theirs. Published pictures are never removed: there is one more for each file that an operator names.
type Logo struct {
	Type          string // of a public asset
	Content       []byte
	Width, Height int // pixels
}

const (
	imagesPath    = "/api/notifications/images/"
	publishWithin = 10 * time.Second // one try; the first mails after a start wait for the first one
	publishAgain  = time.Second      // after a try that failed; twice as long after each further one
	publishRarely = time.Minute      // the longest of these waits
)

// publish stores the logo for everybody to read. Repeating it is safe, also while other replicas do the same.
func (s *Service) publish(ctx context.Context) error {
	trying, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	_, err := s.Assets.Publish(trying, s.Logo.Type, s.Logo.Content)
	if err != nil && ctx.Err() == nil {
		s.Logger.WarnContext(ctx, "the picture of mails is not published yet, they leave without it", slog.Any("err", err))
	}
	return err
}

// publishLater goes on until the logo is published: a store that is away keeps neither mails nor the start of the server.
func (s *Service) publishLater(ctx context.Context) {
	for wait := publishAgain; ; wait = min(2*wait, publishRarely) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if s.publish(ctx) == nil {
			return
		}
	}
}

// shownLogo is the logo as a mail shows it.
type shownLogo struct {
	URL, Alt      string
	Width, Height int // pixels
}

const shownWidth, shownHeight = 280, 64 // pixels; what is larger is scaled down

// shownLogo is nil where there is no logo, or none is published yet.
func (s *Service) shownLogo(ctx context.Context) (*shownLogo, error) {
	if s.Logo == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	_, err := s.Assets.Public(ctx, s.logoSum)
	if errs.Is(err, api.CodeNotFound) {
		return nil, nil //nolint:nilnil // there is none yet
	}
	if err != nil {
		return nil, err
	}
	l := &shownLogo{
		URL: s.PublicURL + imagesPath + hex.EncodeToString(s.logoSum[:]), Alt: s.host(), Width: s.Logo.Width, Height: s.Logo.Height,
	}
	if l.Height > shownHeight {
		l.Width, l.Height = max(l.Width*shownHeight/l.Height, 1), shownHeight
	}
	if l.Width > shownWidth {
		l.Width, l.Height = shownWidth, max(l.Height*shownWidth/l.Width, 1)
	}
	return l, nil
}

// handleImage answers with what was published, and with nothing else that the store has.
func (s *Service) handleImage(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	return httpx.Written, asset.ServeNamed(w, r, s.Assets.Public)
}

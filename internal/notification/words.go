package notification

import (
	"embed"
	"encoding/json"
	"fmt"
	htmltemplate "html/template"
	"io"
	"strings"
	"text/template"
)

//go:embed texts
var texts embed.FS

// words are what the sentences of a mail are filled with.
type words struct {
	Name, Host, Time, Code string
	Count                  int
}

// phrases reads the sentences of a language.
func phrases(language string) (map[string]string, error) {
	b, err := texts.ReadFile("texts/" + language + ".json")
	if err != nil {
		return nil, fmt.Errorf("mail is not written in %q", language)
	}
	all := map[string]string{}
	return all, json.Unmarshal(b, &all)
}

// say fills one sentence. Line ends and other control characters become spaces: a subject is one line.
func say(all map[string]string, key string, w words) (string, error) {
	t, err := template.New(key).Option("missingkey=error").Parse(all[key])
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, w); err != nil {
		return "", err
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, b.String()), nil
}

// layout is what the templates of mail are filled with.
type layout struct {
	Language, Dir, Subject, Hello, Text, Open, Link, Why, Unsubscribe, UnsubscribeText string

	Logo *shownLogo // nil: none
}

// write makes subject, text and HTML of one kind of mail. A kind without words of its own gets general ones.
func (m *Mail) write(language, kind string, w words, link string, logo *shownLogo) error {
	all, err := phrases(language)
	if err != nil {
		return err
	}
	if all[kind+"_subject"] == "" {
		kind = "other"
	}
	l := layout{Language: language, Dir: all["dir"], Link: link, Unsubscribe: m.Unsubscribe, Logo: logo}
	for key, into := range map[string]*string{
		kind + "_subject": &l.Subject, kind + "_text": &l.Text, "hello": &l.Hello, "open": &l.Open, "why": &l.Why,
		"unsubscribe": &l.UnsubscribeText,
	} {
		if *into, err = say(all, key, w); err != nil {
			return err
		}
	}
	m.Subject = l.Subject
	if m.Text, err = render(l); err != nil {
		return err
	}
	m.HTML, err = renderHTML("mail.html", l)
	return err
}

func render(l layout) (string, error) {
	t, err := template.ParseFS(texts, "texts/mail.txt")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, l)
	return b.String(), err
}

func renderHTML(name string, data any) (string, error) {
	var b strings.Builder
	err := writeHTML(&b, name, data)
	return b.String(), err
}

func writeHTML(w io.Writer, name string, data any) error {
	t, err := htmltemplate.ParseFS(texts, "texts/"+name)
	if err != nil {
		return err
	}
	return t.Execute(w, data)
}

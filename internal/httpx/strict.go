package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"sotto/internal/errs"
)

// maxDepth bounds the nesting of a JSON body; ours have at most six levels.
const maxDepth = 16

// Strict reads exactly one JSON value into dst. Beyond encoding/json it refuses unknown fields, keys given twice or in
// upper case (encoding/json would match them case-insensitively), trailing data, deep nesting and bytes that are not
// UTF-8. REST bodies and socket payloads both come through here.
func Strict(b []byte, dst any) error {
	if !utf8.Valid(b) {
		return errs.Invalidf("The request is not UTF-8.")
	}
	if err := checkKeys(b); err != nil {
		return errs.Invalidf("The request is not acceptable JSON: %v.", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		return errs.Invalidf("The request does not fit: %s.", explain(err)).Because(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errs.Invalidf("There is something after the JSON value.")
	}
	return nil
}

// explain keeps Go's type names out of public sentences.
func explain(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Sprintf("a %s is in the wrong place", e.Value)
		}
		return fmt.Sprintf("%q may not be a %s", e.Field, e.Value)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return err.Error()
}

// checkKeys walks the tokens of b; it returns nil for malformed JSON too, which the decoder then names better.
func checkKeys(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var open []map[string]bool // keys of each open object, nil for an array
	expectKey := false
	for {
		t, err := d.Token()
		if err != nil {
			return nil //nolint:nilerr // the decoder reports malformed JSON with its position
		}
		if delim, ok := t.(json.Delim); ok {
			switch delim {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			if len(open) > maxDepth {
				return fmt.Errorf("more than %d levels deep", maxDepth)
			}
			expectKey = len(open) > 0 && open[len(open)-1] != nil
			continue
		}
		if len(open) == 0 || open[len(open)-1] == nil {
			continue
		}
		if expectKey {
			if err := addKey(open[len(open)-1], t.(string)); err != nil {
				return err
			}
		}
		expectKey = !expectKey
	}
}

func addKey(seen map[string]bool, key string) error {
	for i := 0; i < len(key); i++ {
		if c := key[i]; c >= 'A' && c <= 'Z' {
			return fmt.Errorf("key %q has upper-case letters", key)
		}
	}
	if seen[key] {
		return fmt.Errorf("key %q is given twice", key)
	}
	seen[key] = true
	return nil
}

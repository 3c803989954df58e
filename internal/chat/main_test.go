package chat

import (
	"testing"

	"sotto/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

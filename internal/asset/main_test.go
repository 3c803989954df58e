package asset_test

import (
	"testing"

	"sotto/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }
